package gpuload

import "testing"

// TestEarlyPiecesGoBack holds that what was lent before the device was ready is given
// back to it once it is copied, and that no more is lent from then on.
func TestEarlyPiecesGoBack(t *testing.T) {
	const slots, early = 2, 3
	dev := newSlowDevice(t, 0)
	dev.ready = make(chan struct{})
	p := newStagingPool(dev, budget{slots: slots, piece: pageSize, early: early})
	lent := make([]Staging, slots+early)
	for i := range lent {
		s, ok, err := p.try()
		if !ok || err != nil {
			t.Fatalf("piece %d: %t, %v", i, ok, err)
		}
		lent[i] = s
	}
	refused := func(when string) {
		t.Helper()
		if _, ok, err := p.try(); ok || err != nil {
			t.Errorf("%s: one more was lent, %v", when, err)
		}
	}
	refused("all are lent")
	close(dev.ready)
	for i, s := range lent {
		if err := p.put(s); err != nil {
			t.Fatal(err)
		}
		if want := max(len(lent)-i-1, slots); len(p.all) != want {
			t.Errorf("%d pieces are held once %d are copied, want %d", len(p.all), i+1, want)
		}
		if i == early-1 {
			refused("the early ones are copied")
		}
	}
	if _, ok, err := p.try(); !ok || err != nil {
		t.Errorf("none is lent of %d that are free: %v", slots, err)
	}
	if got := p.peak(); got != (slots+early)*pageSize {
		t.Errorf("a peak of %d bytes", got)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}
