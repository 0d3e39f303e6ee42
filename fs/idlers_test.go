package fs

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// However workers come and go, the next request is always awaited: here each
// answer is only done when all requests of its round have been taken. Counting a
// worker that is about to go made this stop within 300,000 rounds.
func TestSomebodyAlwaysWaits(t *testing.T) {
	const rounds, most = 500_000, 8
	// More threads than processors: one has to stop where it is seldom stopped.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	idle := idlers{max: 3}
	requests := make(chan *sync.WaitGroup)
	var workers sync.WaitGroup
	var work func()
	work = func() {
		for idle.join() {
			round, ok := <-requests
			last := idle.leave()
			if !ok {
				return
			}
			if last {
				workers.Go(work)
			}
			round.Done()
			round.Wait()
		}
	}
	workers.Go(work)
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for i := range rounds {
		if i%1024 == 0 {
			late.Reset(time.Minute) // bounds a hang, not the whole
		}
		n := 1 + i%most
		round := new(sync.WaitGroup)
		round.Add(n)
		for range n {
			select {
			case requests <- round:
			case <-late.C:
				t.Fatalf("round %d: nobody takes a request", i)
			}
		}
	}
	close(requests)
	workers.Wait()
}
