package lab

import (
	"context"
	"fmt"
	"math"
)

// Setting is how a plain client asks for an object.
type Setting struct {
	Connections int
	Part        int64 // bytes of one GET
}

// String is how tables show the setting.
func (s Setting) String() string { return fmt.Sprintf("%d x %d MiB", s.Connections, s.Part>>20) }

// swept are the settings of a sweep.
func swept() (all []Setting) {
	for _, connections := range []int{4, 8, 16, 32} {
		for _, part := range []int64{8 << 20, 16 << 20, 32 << 20} {
			all = append(all, Setting{connections, part})
		}
	}
	return all
}

// Sweep is a plain client tried in every setting. The best one is what others
// are compared with, in samples of their own: those that it was chosen by are
// too kind to it.
type Sweep struct {
	// Name says what client, before what store.
	Name  string
	Rates map[Setting][]float64 // bytes per second
}

// TakeSweep takes n rounds of a sample of each setting. One that had less than
// half of the best in the first round has no more than that.
func TakeSweep(ctx context.Context, name string, n int, rate func(context.Context, Setting) (float64, error)) (*Sweep, error) {
	s := &Sweep{Name: name, Rates: map[Setting][]float64{}}
	for range n {
		_, best := s.Best()
		for _, setting := range swept() {
			if taken := s.Rates[setting]; len(taken) > 0 && Median(taken) < best/2 {
				continue
			}
			got, err := rate(ctx, setting)
			if err != nil {
				return s, fmt.Errorf("%s, %v: %w", name, setting, err)
			}
			s.Rates[setting] = append(s.Rates[setting], got)
		}
	}
	return s, nil
}

// Best is the setting with the highest median, and that; NaN before any sample.
func (s *Sweep) Best() (best Setting, rate float64) {
	rate = math.NaN()
	for _, setting := range swept() {
		if got := Median(s.Rates[setting]); math.IsNaN(rate) || got > rate {
			best, rate = setting, got
		}
	}
	return best, rate
}

// Sweeps is the table of sweeps: GB/s by setting, the best of each in bold.
func Sweeps(sweeps []*Sweep) string {
	head := []string{"plain client"}
	for _, setting := range swept() {
		head = append(head, setting.String()+":")
	}
	var rows [][]string
	for _, s := range sweeps {
		best, _ := s.Best()
		row := []string{s.Name}
		for _, setting := range swept() {
			cell := fmt.Sprintf("%.2f", Median(s.Rates[setting])/1e9)
			if setting == best {
				cell = "**" + cell + "**"
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	return Table(head, rows)
}
