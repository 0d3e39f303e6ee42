// Package figure is package lab by its former name, for what is not yet moved.
package figure

import "weightfs/tests/lab"

type (
	Figure = lab.Figure
	Spec   = lab.Spec
	Pair   = lab.Pair
)

const (
	Rate        = lab.Rate
	Bytes       = lab.Bytes
	MemoryBytes = lab.MemoryBytes
)

func Median(samples []float64) float64           { return lab.Median(samples) }
func AtLeast(bound float64) lab.Target           { return lab.AtLeast(bound) }
func Bars(title string, figures []Figure) string { return lab.Bars(title, figures) }
