package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

const (
	rulesFile     = "deploy/monitoring/weightfs.rules.yaml"
	dashboardFile = "deploy/monitoring/weightfs-dashboard.json"
)

// tool is a program that "make deploy-test" puts into .tools.
func tool(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(theStage.root, ".tools", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: make deploy-test makes it", err)
	}
	return path
}

// run runs a tool in the root of the project, and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	result, err := rig.Run(ctx, nil, tool(t, name), args...)
	if err != nil {
		t.Fatal(err)
	}
	if result.Code != 0 {
		t.Errorf("%s %s: exit %d\n%s%s", name, strings.Join(args, " "), result.Code, result.Stdout, result.Stderr)
	}
	return result.Stdout
}

// expression is a query, and where it stands.
type expression struct{ where, query string }

// ruleExpressions are those of the rules: a record or an alert, and what follows.
func ruleExpressions(t *testing.T) (all []expression, recorded map[string]bool) {
	t.Helper()
	recorded = map[string]bool{}
	end := regexp.MustCompile(`\n(        [a-z]+:|      #|\n)`) // the next key, a comment, the next group
	for _, rule := range strings.Split(readFile(t, rulesFile), "\n      - ")[1:] {
		head, rest, _ := strings.Cut(rule, "\n        expr: ")
		kind, name, _ := strings.Cut(head, ": ")
		query := end.Split(rest, 2)[0]
		all = append(all, expression{name, strings.TrimPrefix(query, "|\n")})
		recorded[name] = kind == "record"
	}
	if len(all) < 10 {
		t.Fatalf("only %d rules were found", len(all))
	}
	return all, recorded
}

// dashboard is what the tests look at of the dashboard.
type dashboard struct {
	Panels     []panel
	Templating struct {
		List []struct{ Name, Query string }
	}
}

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr string }
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(readFile(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) < 10 {
		t.Fatalf("only %d panels", len(d.Panels))
	}
	return d
}

// dashboardExpressions are those of its panels, with the variables filled in as
// Grafana does.
func dashboardExpressions(t *testing.T) (all []expression) {
	t.Helper()
	fill := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			all = append(all, expression{p.Title, fill.Replace(target.Expr)})
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q asks for nothing", p.Title)
		}
	}
	return all
}

// TestRules has promtool check the rules, and run their unit tests.
func TestRules(t *testing.T) {
	rules := filepath.Join(theStage.root, rulesFile)
	if out := run(t, "promtool", "check", "rules", rules); !strings.Contains(out, "SUCCESS") {
		t.Error(out)
	}
	if out := run(t, "promtool", "test", "rules", filepath.Join(theStage.root, "tests/deploy/monitoring/testdata/rules_test.yaml")); !strings.Contains(out, "SUCCESS") {
		t.Error(out)
	}
}

// TestEachAlertIsTested holds that the unit tests have each alert fire and not
// fire, and that each says what to do.
func TestEachAlertIsTested(t *testing.T) {
	tests := readFile(t, "tests/deploy/monitoring/testdata/rules_test.yaml")
	alerts := strings.Split(readFile(t, rulesFile), "- alert: ")[1:]
	if len(alerts) < 10 {
		t.Fatalf("only %d alerts", len(alerts))
	}
	for _, alert := range alerts {
		name, text, _ := strings.Cut(alert, "\n")
		if !strings.Contains(tests, "alertname: "+name+"}") || !strings.Contains(tests, `{alertname="`+name+`"`) {
			t.Errorf("%s is not tested in both ways", name)
		}
		for _, want := range []string{"severity: ", "summary: ", "description: ", "runbook: docs/troubleshooting.md#"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %q", name, want)
			}
		}
	}
}

// TestRunbooks holds that the parts of the page to which the alerts send people
// are there.
func TestRunbooks(t *testing.T) {
	page, found := anchors(readFile(t, "docs/troubleshooting.md")), 0
	for _, match := range regexp.MustCompile(`runbook: docs/troubleshooting\.md#(\S+)`).FindAllStringSubmatch(readFile(t, rulesFile), -1) {
		if found++; !strings.Contains(page, "#"+match[1]+"\n") {
			t.Errorf("docs/troubleshooting.md has no part %q", match[1])
		}
	}
	if found < 10 {
		t.Errorf("only %d alerts send anybody there", found)
	}
}

// anchors are those that the headings of a page get, one a line.
func anchors(page string) (all string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all += "#" + strings.ReplaceAll(name, " ", "-") + "\n"
	}
	return all
}

// TestQueries holds that all that is asked of Prometheus can be parsed, and is of
// metrics that a mount shows, or that a rule records.
func TestQueries(t *testing.T) {
	rules, recorded := ruleExpressions(t)
	shown := families(t)
	all := append(rules, dashboardExpressions(t)...)
	metric := regexp.MustCompile(`\b(?:instance:)?(?:weightfs|process|go)_[a-z0-9_]+(?::[a-z0-9_]+)?`)
	var asRules strings.Builder
	asRules.WriteString("groups:\n- name: queries\n  rules:\n")
	for i, e := range all {
		names := metric.FindAllString(e.query, -1)
		if len(names) == 0 && !strings.HasPrefix(e.query, "up{") {
			t.Errorf("%s asks for none of our metrics: %s", e.where, e.query)
		}
		for _, name := range names {
			if !shown[name] && !recorded[name] {
				t.Errorf("%s asks for %s, which does not exist", e.where, name)
			}
		}
		query, err := json.Marshal(e.query)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&asRules, "  - {record: 'query:%d', expr: %s}\n", i, query)
	}
	file := filepath.Join(t.TempDir(), "queries.yaml")
	if err := os.WriteFile(file, []byte(asRules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "promtool", "check", "rules", file); !strings.Contains(out, fmt.Sprintf("%d rules found", len(all))) {
		t.Errorf("%d queries: %s", len(all), out)
	}
}

// TestDashboard holds the dashboard to Grafana's own schema, its panels to their
// places, and its variables to what a mount shows.
func TestDashboard(t *testing.T) {
	run(t, "dashboardlint", filepath.Join(theStage.root, dashboardFile))
	broken := filepath.Join(t.TempDir(), "broken.json")
	text := strings.Replace(readFile(t, dashboardFile), `"drawStyle"`, `"drawnStyle"`, 1)
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if result, err := rig.Run(t.Context(), nil, tool(t, "dashboardlint"), broken); err != nil || result.Code != 1 || !strings.Contains(result.Stderr, "drawnStyle") {
		t.Errorf("a field that Grafana does not know: %+v, %v", result, err)
	}
	taken, ids := map[[2]int]string{}, map[int]bool{}
	d := readDashboard(t)
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%q has the number %d of another", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W == 0 || p.GridPos.H == 0 {
			t.Errorf("%q is at %+v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%q lies on %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	shown, found := families(t), false
	for _, variable := range d.Templating.List {
		if name, ok := strings.CutPrefix(variable.Query, "label_values("); ok {
			name, _, _ = strings.Cut(name, ",")
			found = found || shown[name]
		}
	}
	if !found {
		t.Error("no variable is of a metric that a mount shows")
	}
}
