package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"weightfs/cmd/cli"
	"weightfs/tests/lab"
	"weightfs/tests/scale/model"
)

// results are what was measured, what that says of the model, and what the model says.
type results struct {
	Machine     string            `json:"machine"`
	Size        int64             `json:"size"`       // of the object, in bytes
	StoreRate   int64             `json:"store_rate"` // of the store's link, in bytes per second
	NodeRate    int64             `json:"node_rate"`  // of each other link, the same
	Samples     []sample          `json:"samples"`
	Calibration model.Calibration `json:"calibration"`
	Large       []large           `json:"simulated"`
}

// readResults reads what an earlier run has measured.
func readResults(name string) (*results, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	all := &results{}
	if err := json.Unmarshal(text, all); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(all.Samples) == 0 || all.Size <= 0 || all.StoreRate <= 0 || all.NodeRate <= 0 {
		return nil, fmt.Errorf("%s: no results", name)
	}
	return all, nil
}

// page is the document that the tables go into.
const page = "fleet-scale.md"

// write calibrates and simulates, where what was measured is enough for it, and writes
// the tables, the numbers and the plots into the folder for results, and into the
// document where its folder is named.
func (all *results) write(o options) error {
	if err := all.calibrate(); err != nil {
		fmt.Println("not simulated:", err)
	} else {
		all.simulate()
	}
	numbers, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	text, plots := all.text(), all.plots()
	fmt.Print("\n", text)
	err = errors.Join(lab.WriteAll(o.Out, plots), lab.WriteAll(o.Out, map[string]string{"table.md": text, "results.json": string(numbers)}))
	if err != nil || o.Docs == "" {
		return err
	}
	return lab.Publish(filepath.Join(o.Docs, page), "fleet", text, plots)
}

// text is the tables, with what one must know to read them.
func (all *results) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. One object of %s; the store's link carries %.0f MB/s and each other link %.0f MB/s in each direction. Every node checks every byte. "+
		"Idle is what the processors of this machine, which did all of it, had left: where that is little, they decide too, and not the links alone.\n\n",
		all.Machine, cli.FormatSize(all.Size-all.Size%(1<<20)), float64(all.StoreRate)/1e6, float64(all.NodeRate)/1e6)
	b.WriteString(all.measuredTable())
	if len(all.Large) == 0 {
		return b.String()
	}
	c := all.Calibration
	fmt.Fprintf(&b, "\nCalibrated by these: %.2f s to the first request, %.0f %% of the store's link and %.0f %% of the others carry content. "+
		"Simulated, with that, an object of %s on links of 100 Gb/s, the store's too; seconds to the last node:\n\n",
		c.Start, 100*c.Store, 100*c.Link, cli.FormatSize(largeSize))
	b.WriteString(all.largeTable())
	b.WriteString(lab.Pictures(page, all.plots()))
	return b.String()
}

// measuredTable has a line for each sample.
func (all *results) measuredTable() string {
	var rows [][]string
	for _, s := range all.Samples {
		simulated := "–"
		if all.Calibration.Store > 0 {
			simulated = fmt.Sprintf("%.1f", all.simulated(s))
		}
		rows = append(rows, []string{s.Cache, fmt.Sprint(s.Nodes), fmt.Sprintf("%.1f", s.last()), fmt.Sprintf("%.1f", s.Seconds[0]), simulated,
			fmt.Sprintf("%.3f", s.asked(all.Size)), fmt.Sprintf("%.3f", float64(s.Past)/float64(all.Size)), fmt.Sprint(s.Requests), fmt.Sprintf("%.0f %%", 100*s.Idle)})
	}
	return lab.Table([]string{"cache", "nodes:", "last node, s:", "first, s:", "simulated last, s:", "asked of the store / object:", "of that past the cache:", "GETs:", "idle:"}, rows)
}

// largeTable has a line for each number of nodes, and a column for each variant.
func (all *results) largeTable() string {
	head, rows := []string{"nodes:"}, make([][]string, len(largeNodes()))
	for i, n := range largeNodes() {
		rows[i] = []string{fmt.Sprint(n)}
	}
	for _, v := range variants() {
		head = append(head, v.name+":")
	}
	head = append(head, "asked, no cache:", "asked, any cache:")
	for i, n := range largeNodes() {
		asked := map[bool]string{}
		for _, l := range all.Large {
			if l.Nodes == n {
				rows[i] = append(rows[i], fmt.Sprintf("%.1f", l.Last))
				asked[l.Variant == string(nowhere)] = fmt.Sprintf("%.0f", float64(l.Asked)/largeSize)
			}
		}
		rows[i] = append(rows[i], asked[true], asked[false])
	}
	return lab.Table(head, rows)
}

// plots are the drawings by their file names.
func (all *results) plots() map[string]string {
	seconds := lab.Chart{Title: "Seconds to the last node", XLabel: "nodes", YLabel: "seconds", LogX: true, LogY: true}
	asked := lab.Chart{Title: "Bytes asked of the store, in objects", XLabel: "nodes", YLabel: "objects", LogX: true, LogY: true}
	for _, p := range placements() {
		last, simulated, bytes := lab.Series{Name: string(p)}, lab.Series{Name: string(p) + ", simulated"}, lab.Series{Name: string(p)}
		for _, s := range all.Samples {
			if s.Cache == string(p) {
				last.Add(float64(s.Nodes), s.last())
				bytes.Add(float64(s.Nodes), s.asked(all.Size))
				if all.Calibration.Store > 0 {
					simulated.Add(float64(s.Nodes), all.simulated(s))
				}
			}
		}
		seconds.Series, asked.Series = append(seconds.Series, last, simulated), append(asked.Series, bytes)
	}
	scale := lab.Chart{Title: "Simulated: seconds to the last of up to 1,000 nodes at 100 Gb/s", XLabel: "nodes", YLabel: "seconds", LogX: true, LogY: true}
	for _, v := range variants() {
		line := lab.Series{Name: v.name}
		for _, l := range all.Large {
			if l.Variant == v.name {
				line.Add(float64(l.Nodes), l.Last)
			}
		}
		scale.Series = append(scale.Series, line)
	}
	plots := map[string]string{"asked.svg": asked.SVG(), "seconds.svg": seconds.SVG()}
	if len(all.Large) > 0 {
		plots["simulated.svg"] = scale.SVG()
	}
	return plots
}
