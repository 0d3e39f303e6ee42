// The cache that a fleet shares before the store, in measures, text and report.

package monitor

import (
	"weightfs/cmd/cli"
	"weightfs/remote/tier"
)

// tier reports on the cache before the store; nil without one.
func (m *Mount) tier() *cli.TierReport {
	if m.Tier == nil {
		return nil
	}
	return cli.NewTierReport(m.Tier.Stats())
}

// tierMeasures are of the cache before the store; there are none without one.
func (m *Mount) tierMeasures() (all []measure) {
	if m.Tier == nil {
		return nil
	}
	s := m.Tier.Stats()
	for o := range tier.Origins {
		all = append(all,
			counter("tier_answers_total", "Answers of the shared cache that were what was asked for.", s.Answers[o]).with("origin", o.String()),
			counter("tier_bytes_total", "Bytes that came from the shared cache.", s.Bytes[o]).with("origin", o.String()))
	}
	for c := range tier.Causes {
		all = append(all, counter("tier_fallbacks_total", "Pieces read from the store in place of the shared cache.", s.Fallbacks[c]).with("cause", c.String()))
	}
	all = append(all,
		counter("tier_direct_bytes_total", "Bytes read from the store in place of the shared cache.", s.DirectBytes),
		counter("tier_direct_wait_seconds_total", "Time that reads waited for the budget of such bytes, summed over them.", int64(s.Delayed.Seconds())))
	for _, in := range s.Instances {
		open := int64(0)
		if in.State != tier.Closed {
			open = 1
		}
		for _, m := range []measure{
			counter("tier_requests_total", "Requests of an instance of the shared cache.", in.Requests),
			counter("tier_failures_total", "Those that came to nothing.", in.Failures),
			counter("tier_breaks_total", "How often an instance was left alone for a while.", in.Breaks),
			gauge("tier_open", "Whether an instance is left alone now.", open),
		} {
			all = append(all, m.with("url", in.URL))
		}
	}
	return all
}

func (t *text) tier(r *cli.TierReport) {
	if r == nil {
		return
	}
	t.paragraph("tier", r.Line())
	for _, in := range r.Instances {
		t.row("", in.Line())
	}
}
