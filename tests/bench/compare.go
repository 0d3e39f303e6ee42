package main

import (
	"weightfs/tests/lab"
)

// comparison is a figure and how its pairs come from the outcomes.
type comparison struct {
	lab.Spec
	pair func(base, load outcome) lab.Pair
}

// ofBase compares the same number of both sides.
func ofBase(name string, unit lab.Unit, baseline string, target lab.Target, number func(outcome) float64) comparison {
	return comparison{
		lab.Spec{Name: name, Unit: unit, Baseline: baseline, Target: target},
		func(base, load outcome) lab.Pair { return lab.Pair{Base: number(base), Load: number(load)} },
	}
}

// of compares a number of the load with another one of the load.
func of(name string, unit lab.Unit, baseline string, target lab.Target, base, number func(outcome) float64) comparison {
	return comparison{
		lab.Spec{Name: name, Unit: unit, Baseline: baseline, Target: target},
		func(_, load outcome) lab.Pair { return lab.Pair{Base: base(load), Load: number(load)} },
	}
}

// The numbers of an outcome.
func rate(o outcome) float64    { return o.report.Rate() }
func seconds(o outcome) float64 { return o.report.Seconds() }
func size(o outcome) float64    { return float64(o.size) }
func asked(o outcome) float64   { return float64(o.report.Bytes) }
func fetched(o outcome) float64 { return float64(o.traffic.Bytes) }
func reads(o outcome) float64   { return float64(o.traffic.READs) }

// constant is always n.
func constant(n float64) func(outcome) float64 { return func(outcome) float64 { return n } }

// named is the value that a sample gives that name.
func named(name string) func(outcome) float64 {
	return func(o outcome) float64 { return o.values[name] }
}

// latency is a quantile of the single reads, in seconds.
func latency(share float64) func(outcome) float64 {
	return func(o outcome) float64 {
		all := make([]float64, len(o.report.Latencies))
		for i, d := range o.report.Latencies {
			all[i] = d.Seconds()
		}
		return lab.Quantile(all, share)
	}
}

// rates compares bytes per second of both sides.
func rates(baseline string, target lab.Target) comparison {
	return ofBase("", lab.Rate, baseline, target, rate)
}

// fetchedOf compares bytes from the store with those that base gives.
func fetchedOf(baseline string, base func(outcome) float64, most float64) comparison {
	return of("fetched", lab.Bytes, baseline, lab.AtMost(most), base, fetched)
}

// zero holds that a count of the load is 0.
func zero(name string, count func(outcome) float64) comparison {
	return of(name, lab.Count, "1", lab.AtMost(0), constant(1), count)
}

// value compares a sample's value with another of its values.
func value(name, base string, unit lab.Unit, target lab.Target) comparison {
	return of(name, unit, base, target, named(base), named(name))
}
