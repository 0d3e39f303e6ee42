package faults

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// refetchLimit is how many times the object may be fetched in a fault that
	// passes.
	refetchLimit = 1.1
	// lateRefetch may come to it on a machine that stands still: what a reader
	// has not taken yet is lost when its connection is reset.
	lateRefetch = 0.15
	// retriesPerSecond is how often one part may be asked for again in a second:
	// after pauses of at least 50, 100, 200 and 400 ms.
	retriesPerSecond = 4
	// suspects is how often a part is asked for that is answered with another one,
	// until it is given up, long before the read time-out.
	suspects = 3
)

// rateLimit is how many requests a second may reach a store, or connections be
// tried, whatever the store does: those of an undisturbed read, and the retries
// of the parts that are under way at once. Attempts without a pause are more than
// that; of sixteen readers in full only those that are not paced either.
func rateLimit(way string) int64 {
	atOnce := min(theStage.size/theStage.partSize(), 48) // what sixteen readers come to
	if way == "sequential" || way == "mapped" {
		atOnce = 11 // the window of one cold reader of a short file
		if !testing.Short() {
			atOnce = 32 // it grows on, to the GETs that mountd starts with
		}
	}
	undisturbed := min(theStage.size, paceTotal) / theStage.partSize()
	return undisturbed + retriesPerSecond*atOnce
}

// beginCounting forgets the requests and dials so far.
func (r *scene) beginCounting() {
	r.proxy.ResetStats()
	r.dials = watchDials(r.t, r.proxy.Endpoint)
	if r.names != nil {
		r.names.refused.Store(0)
	}
}

// checkFired holds that the fault met somebody. A connection that is refused
// reaches no proxy: it shows as one that was tried and not accepted.
func (r *scene) checkFired() {
	r.t.Helper()
	s := r.proxy.Stats()
	if r.outage {
		refused := r.dials.count() - s.Connections
		fmt.Fprintf(&r.seen, ", %d dials refused", refused)
		if refused <= 0 {
			r.t.Error("no connection was refused")
		}
		return
	}
	if r.names != nil {
		fmt.Fprintf(&r.seen, ", %d names refused", r.names.refused.Load())
		if r.names.refused.Load() == 0 {
			r.t.Error("no name was refused")
		}
		return
	}
	fmt.Fprintf(&r.seen, ", %d faults", s.Faults)
	if s.Faults == 0 {
		r.t.Error("no request met the fault")
	}
}

// checkRefetched holds that the store was asked for little more than the object.
func (r *scene) checkRefetched(late lateness) {
	r.t.Helper()
	limit := refetchLimit
	if late.longest >= lateMatters {
		limit += lateRefetch
	}
	fetched := float64(r.proxy.Stats().Bytes["GET"]) / float64(theStage.size)
	fmt.Fprintf(&r.seen, ", fetched %.2fx", fetched)
	if fetched > limit {
		r.t.Errorf("fetched %.2f times the object, at most %.2f allowed", fetched, limit)
	}
}

// checkRate holds that no more requests or dials than limit came in a second.
func (r *scene) checkRate(limit int64) {
	r.t.Helper()
	requests, dials := r.proxy.Stats().PeakPerSecond, r.dials.peak()
	fmt.Fprintf(&r.seen, ", at most %d requests/s, %d dials/s", requests, dials)
	if requests > limit || dials > limit {
		r.t.Errorf("%d requests and %d dials in a second, at most %d allowed", requests, dials, limit)
	}
}

// dialWatch counts the connections that are tried to one port, accepted or
// refused, as the network sees them.
type dialWatch struct {
	mu        sync.Mutex
	perSecond map[int64]int64 // by Unix time; guarded by mu
}

// watchDials counts until the test ends.
func watchDials(t *testing.T, endpoint string) *dialWatch {
	t.Helper()
	port, err := strconv.ParseUint(endpoint[strings.LastIndexByte(endpoint, ':')+1:], 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("ip4:tcp", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := onlySYN(conn.(*net.IPConn), uint32(port)); err != nil {
		t.Fatal(err)
	}
	w := &dialWatch{perSecond: map[int64]int64{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.serve(conn)
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return w
}

// serve counts until conn is closed.
func (w *dialWatch) serve(conn net.PacketConn) {
	packet := make([]byte, 128)
	for {
		if _, _, err := conn.ReadFrom(packet); err != nil {
			return
		}
		w.mu.Lock()
		w.perSecond[time.Now().Unix()]++
		w.mu.Unlock()
	}
}

func (w *dialWatch) count() (n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, dials := range w.perSecond {
		n += dials
	}
	return n
}

func (w *dialWatch) peak() (n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, dials := range w.perSecond {
		n = max(n, dials)
	}
	return n
}

// onlySYN lets conn see nothing but the first packets of connections to port.
func onlySYN(conn *net.IPConn, port uint32) error {
	const synAck, syn, drop = 0x12, 0x02, 0
	program := []unix.SockFilter{
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0}, // the length of the IP header
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},  // the port that TCP goes to
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: port, Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13}, // TCP's flags
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: synAck},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 128},
		{Code: unix.BPF_RET | unix.BPF_K, K: drop},
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
			Len: uint16(len(program)), Filter: unsafe.SliceData(program),
		})
	}); err != nil {
		return err
	}
	return set
}
