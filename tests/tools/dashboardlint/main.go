// Command dashboardlint holds dashboards of Grafana to Grafana's own schema: no
// field that it does not know, none that is missing, and no value out of range.
//
// It has a module of its own, since the schema is large.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	// The kinds of panels and of queries that our dashboards have.
	schema := cog.NewRuntime()
	schema.RegisterPanelcfgVariant(timeseries.VariantConfig())
	schema.RegisterPanelcfgVariant(stat.VariantConfig())
	schema.RegisterDataqueryVariant(prometheus.VariantConfig())
	code := 0
	for _, name := range os.Args[1:] {
		if err := check(name); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			code = 1
		}
	}
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "dashboardlint: no dashboard is given")
		code = 2
	}
	os.Exit(code)
}

// check reads one dashboard.
func check(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var d dashboard.Dashboard
	err = d.UnmarshalJSONStrict(text)
	if found, ok := errors.AsType[cog.BuildErrors](err); err != nil && (!ok || len(found) > 0) { // without any, it is not nil
		return err
	}
	return d.Validate()
}
