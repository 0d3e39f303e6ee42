package main

import (
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
)

// rates compares bytes per second.
func rates(baseline string, target lab.Target) comparison {
	return comparison{
		lab.Spec{Name: "", Unit: lab.Rate, Baseline: baseline, Target: target},
		func(base, load outcome) lab.Pair {
			return lab.Pair{Base: base.report.Rate(), Load: load.report.Rate()}
		},
	}
}

// ofStore compares bytes per second with what the distant store gives.
func ofStore(far proxy.Shape, target lab.Target) comparison {
	return comparison{
		lab.Spec{Unit: lab.Rate, Baseline: "the store's limit", Target: target},
		func(_, load outcome) lab.Pair {
			return lab.Pair{Base: float64(far.Total), Load: load.report.Rate()}
		},
	}
}

// seconds compares how long both sides took.
func seconds(baseline string, target lab.Target) comparison {
	return comparison{
		lab.Spec{Name: "time", Unit: lab.Time, Baseline: baseline, Target: target},
		func(base, load outcome) lab.Pair {
			return lab.Pair{Base: base.report.Seconds(), Load: load.report.Seconds()}
		},
	}
}

// roundTrips compares how long the load took with the distant store's time to
// the first byte.
func roundTrips(far proxy.Shape, target lab.Target) comparison {
	return comparison{
		lab.Spec{Unit: lab.Time, Baseline: "a round trip", Target: target},
		func(_, load outcome) lab.Pair {
			return lab.Pair{Base: far.FirstByte.Seconds(), Load: load.report.Seconds()}
		},
	}
}

// latency compares a quantile of the single reads with a round trip.
func latency(name string, share float64, far proxy.Shape, target lab.Target) comparison {
	return comparison{
		lab.Spec{Name: name, Unit: lab.Time, Baseline: "a round trip", Target: target},
		func(_, load outcome) lab.Pair {
			seconds := make([]float64, len(load.report.Latencies))
			for i, d := range load.report.Latencies {
				seconds[i] = d.Seconds()
			}
			return lab.Pair{Base: far.FirstByte.Seconds(), Load: lab.Quantile(seconds, share)}
		},
	}
}

// fetchedOfAsked compares bytes from the store with bytes that readers asked
// for.
func fetchedOfAsked(target lab.Target) comparison {
	return comparison{
		lab.Spec{Name: "fetched", Unit: lab.Bytes, Baseline: "asked for", Target: target},
		func(_, load outcome) lab.Pair {
			return lab.Pair{Base: float64(load.report.Bytes), Load: float64(load.traffic.Bytes)}
		},
	}
}

// fetchedOfSize compares bytes from the store with the size that the sample
// gives.
func fetchedOfSize(target lab.Target) comparison {
	return comparison{
		lab.Spec{Name: "fetched", Unit: lab.Bytes, Baseline: "size", Target: target},
		func(_, load outcome) lab.Pair {
			return lab.Pair{Base: load.values[sizeValue], Load: float64(load.traffic.Bytes)}
		},
	}
}

// sizeValue is the value of a sample that is its dataset's size.
const sizeValue = "size"

// noREADs holds that the kernel asked the daemon for nothing.
func noREADs() comparison {
	return comparison{
		lab.Spec{Name: "READs", Unit: lab.Count, Baseline: "1", Target: lab.AtMost(0)},
		func(_, load outcome) lab.Pair { return lab.Pair{Base: 1, Load: float64(load.traffic.READs)} },
	}
}

// value compares a sample's value with another of its values, or with 1 where
// of is "".
func value(name, of string, unit lab.Unit, target lab.Target) comparison {
	baseline := of
	if of == "" {
		baseline = "1"
	}
	return comparison{
		lab.Spec{Name: name, Unit: unit, Baseline: baseline, Target: target},
		func(_, load outcome) lab.Pair {
			base := 1.0
			if of != "" {
				base = load.values[of]
			}
			return lab.Pair{Base: base, Load: load.values[name]}
		},
	}
}
