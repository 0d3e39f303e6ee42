package lab

import (
	"math"
	"slices"
)

// Median is the middle one of samples, or the mean of the middle two; NaN of
// none.
func Median(samples []float64) float64 { return Quantile(samples, 0.5) }

// Quantile is the value below which a share of the samples lies, between the two
// nearest ones in proportion; NaN of none. It leaves samples as they are.
func Quantile(samples []float64, share float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	at := share * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// MedianOf is the median of one number of each of the values.
func MedianOf[T any](values []T, number func(T) float64) float64 {
	samples := make([]float64, len(values))
	for i, v := range values {
		samples[i] = number(v)
	}
	return Median(samples)
}
