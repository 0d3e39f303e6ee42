package main

import (
	"slices"
	"time"

	"weightfs/tests/bench/figure"
	"weightfs/tests/proxy"
)

// rates compares bytes per second.
func rates(baseline string, target figure.Target) comparison {
	return comparison{
		figure.Spec{Name: "", Unit: figure.Rate, Baseline: baseline, Target: target},
		func(base, load outcome) figure.Pair {
			return figure.Pair{Base: base.report.Rate(), Load: load.report.Rate()}
		},
	}
}

// ofStore compares bytes per second with what the distant store gives.
func ofStore(far proxy.Shape, target figure.Target) comparison {
	return comparison{
		figure.Spec{Unit: figure.Rate, Baseline: "the store's limit", Target: target},
		func(_, load outcome) figure.Pair {
			return figure.Pair{Base: float64(far.Total), Load: load.report.Rate()}
		},
	}
}

// seconds compares how long both sides took.
func seconds(baseline string, target figure.Target) comparison {
	return comparison{
		figure.Spec{Name: "time", Unit: figure.Time, Baseline: baseline, Target: target},
		func(base, load outcome) figure.Pair {
			return figure.Pair{Base: base.report.Seconds(), Load: load.report.Seconds()}
		},
	}
}

// roundTrips compares how long the load took with the distant store's time to
// the first byte.
func roundTrips(far proxy.Shape, target figure.Target) comparison {
	return comparison{
		figure.Spec{Unit: figure.Time, Baseline: "a round trip", Target: target},
		func(_, load outcome) figure.Pair {
			return figure.Pair{Base: far.FirstByte.Seconds(), Load: load.report.Seconds()}
		},
	}
}

// medianLatency compares the median of the single reads with a round trip.
func medianLatency(far proxy.Shape, target figure.Target) comparison {
	return comparison{
		figure.Spec{Name: "median latency", Unit: figure.Time, Baseline: "a round trip", Target: target},
		func(_, load outcome) figure.Pair {
			sorted := slices.Sorted(slices.Values(load.report.Latencies))
			return figure.Pair{Base: far.FirstByte.Seconds(), Load: quantile(sorted, 0.5).Seconds()}
		},
	}
}

// highLatency prints the 99th percentile of the single reads.
func highLatency(far proxy.Shape) comparison {
	return comparison{
		figure.Spec{Name: "99th percentile", Unit: figure.Time, Baseline: "a round trip"},
		func(_, load outcome) figure.Pair {
			sorted := slices.Sorted(slices.Values(load.report.Latencies))
			return figure.Pair{Base: far.FirstByte.Seconds(), Load: quantile(sorted, 0.99).Seconds()}
		},
	}
}

// quantile is the value below which a share of the sorted durations lies.
func quantile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// fetchedOfAsked compares bytes from the store with bytes that readers asked
// for.
func fetchedOfAsked(target figure.Target) comparison {
	return comparison{
		figure.Spec{Name: "fetched", Unit: figure.Bytes, Baseline: "asked for", Target: target},
		func(_, load outcome) figure.Pair {
			return figure.Pair{Base: float64(load.report.Bytes), Load: float64(load.traffic.Bytes)}
		},
	}
}

// fetchedOfSize compares bytes from the store with the size that the sample
// gives.
func fetchedOfSize(target figure.Target) comparison {
	return comparison{
		figure.Spec{Name: "fetched", Unit: figure.Bytes, Baseline: "size", Target: target},
		func(_, load outcome) figure.Pair {
			return figure.Pair{Base: load.values[sizeValue], Load: float64(load.traffic.Bytes)}
		},
	}
}

// sizeValue is the value of a sample that is its dataset's size.
const sizeValue = "size"

// noREADs holds that the kernel asked the daemon for nothing.
func noREADs() comparison {
	return comparison{
		figure.Spec{Name: "READs", Unit: figure.Count, Baseline: "1", Target: figure.AtMost(0)},
		func(_, load outcome) figure.Pair { return figure.Pair{Base: 1, Load: float64(load.traffic.READs)} },
	}
}

// value compares a sample's value with another of its values, or with 1 where
// of is "".
func value(name, of string, unit figure.Unit, target figure.Target) comparison {
	baseline := of
	if of == "" {
		baseline = "1"
	}
	return comparison{
		figure.Spec{Name: name, Unit: unit, Baseline: baseline, Target: target},
		func(_, load outcome) figure.Pair {
			base := 1.0
			if of != "" {
				base = load.values[of]
			}
			return figure.Pair{Base: base, Load: load.values[name]}
		},
	}
}
