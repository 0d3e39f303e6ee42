package lab

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// Sweep is a baseline tried in every setting. The best one is what others are
// compared with, in samples of their own: those that it was chosen by are too
// kind to it.
type Sweep struct {
	Name     string
	Settings []string
	Unit     Unit
	Samples  [][]float64 // by setting; more is better
}

// Take takes n rounds of a sample of each setting. One that had less than half of
// the best in the rounds before is left out of a round.
func (s *Sweep) Take(ctx context.Context, n int, sample func(ctx context.Context, setting int) (float64, error)) error {
	s.Samples = make([][]float64, len(s.Settings))
	for range n {
		_, best := s.Best()
		for i, setting := range s.Settings {
			if Median(s.Samples[i]) < best/2 {
				continue
			}
			got, err := sample(ctx, i)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", s.Name, setting, err)
			}
			s.Samples[i] = append(s.Samples[i], got)
		}
	}
	return nil
}

// Best is the setting with the highest median, and that; NaN before any sample.
func (s *Sweep) Best() (setting int, median float64) {
	median = math.NaN()
	for i, samples := range s.Samples {
		if got := Median(samples); math.IsNaN(median) || got > median {
			setting, median = i, got
		}
	}
	return setting, median
}

// Sweeps are the tables of sweeps, those of the same settings in one, with the
// best setting of each in bold.
func Sweeps(sweeps []*Sweep) string {
	text := ""
	for len(sweeps) > 0 {
		first := sweeps[0]
		head, rows := []string{"swept"}, [][]string{}
		for _, setting := range first.Settings {
			head = append(head, setting+":")
		}
		var others []*Sweep
		for _, s := range sweeps {
			if slices.Equal(s.Settings, first.Settings) {
				rows = append(rows, s.row())
			} else {
				others = append(others, s)
			}
		}
		text += "\n" + Table(head, rows)
		sweeps = others
	}
	return text
}

// String is the best setting in a line.
func (s *Sweep) String() string {
	best, median := s.Best()
	return fmt.Sprintf("best %s: %s, %s", s.Name, s.Settings[best], s.Unit.Format(median))
}

func (s *Sweep) row() []string {
	best, _ := s.Best()
	cells := []string{s.Name}
	for i, samples := range s.Samples {
		cell := s.Unit.Format(Median(samples))
		if i == best {
			cell = "**" + cell + "**"
		}
		cells = append(cells, cell)
	}
	return cells
}

// Request is how a plain client asks for an object: over how many connections,
// and for how many bytes by one GET.
type Request struct {
	Connections int
	Part        int64
}

// Requests are the settings of a plain client that a sweep tries.
func Requests() (all []Request, names []string) {
	for _, connections := range []int{4, 8, 16, 32} {
		for _, mib := range []int64{8, 16, 32} {
			all = append(all, Request{connections, mib << 20})
			names = append(names, fmt.Sprintf("%d x %d MiB", connections, mib))
		}
	}
	return all, names
}
