package rig

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
)

// NameServer answers every question for an address with 127.0.0.1, or with
// SERVFAIL while it fails.
type NameServer struct {
	// Address is where it is asked, at port 53.
	Address string
	// Fail has it fail.
	Fail atomic.Bool
	// Refused counts the questions that it failed.
	Refused atomic.Int64
}

// StartNameServer runs one on a loopback address of its own until the test ends.
func StartNameServer(tb testing.TB) *NameServer {
	tb.Helper()
	var conn net.PacketConn
	var s NameServer
	for last := 2; conn == nil; last++ {
		s.Address = fmt.Sprintf("127.53.53.%d", last)
		var err error
		if conn, err = net.ListenPacket("udp", s.Address+":53"); err != nil && last == 250 {
			tb.Fatal(err)
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.serve(conn)
	}()
	tb.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return &s
}

// serve answers until conn is closed.
func (s *NameServer) serve(conn net.PacketConn) {
	question := make([]byte, 1500)
	for {
		n, client, err := conn.ReadFrom(question)
		if err != nil {
			return
		}
		if answer := s.answer(question[:n]); answer != nil {
			conn.WriteTo(answer, client) // lost answers are asked for again
		}
	}
}

// The parts of a DNS message that matter here.
const (
	dnsHeader  = 12
	dnsTypeA   = 1
	dnsServErr = 2
)

// answer makes the answer to a question with one name, nil for anything else.
func (s *NameServer) answer(question []byte) []byte {
	end := dnsHeader
	for end < len(question) && question[end] != 0 { // the labels of the name
		end += 1 + int(question[end])
	}
	end += 5 // the empty label, type and class
	if end > len(question) {
		return nil
	}
	a := append([]byte(nil), question[:end]...)
	a[2], a[3] = 0x84, 0x00 // an authoritative answer
	for i := 6; i < dnsHeader; i++ {
		a[i] = 0 // no records yet
	}
	switch {
	case s.Fail.Load():
		s.Refused.Add(1)
		a[3] = dnsServErr
	case question[end-3] == dnsTypeA:
		a[7] = 1
		// The name above, type A, class IN, no time to live, 4 bytes.
		a = append(a, 0xc0, dnsHeader, 0, dnsTypeA, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	return a
}
