package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPromisesHaveTheirTests holds that each row of a table of promises names
// tests, and that all tests exist which these pages name. `PACKAGE: NAME` is a test of
// that package, and so is a NAME after it in the line; TestScripts/NAME is a script.
func TestPromisesHaveTheirTests(t *testing.T) {
	t.Parallel()
	span, named := regexp.MustCompile("`[^`]*`"), regexp.MustCompile("^`(?:([a-z0-9/]+): )?((?:Test|Fuzz)\\w+)(?:/([a-z-]+))?`$")
	for document, tc := range map[string]struct {
		usual string
		least int // promises; 0 for a page without a table of them
	}{"../docs/semantics.md": {"none", 20}, "../SECURITY.md": {"faults", 20}, "../docs/fleet.md": {"none", 8},
		"../docs/architecture.md": {"prefetch", 0}, "../deploy/nginx/README.md": {"none", 0}, "../docs/operations.md": {"none", 0}} {
		promises, rows, names := false, 0, 0
		for line := range strings.Lines(readText(t, document)) {
			before, in := names, tc.usual
			for _, text := range span.FindAllString(line, -1) {
				match := named.FindStringSubmatch(text)
				if match == nil {
					if regexp.MustCompile(`\b(Test|Fuzz)[A-Z]`).MatchString(text) {
						t.Errorf("%s: %s is no name of a test", document, text)
					}
					continue
				}
				names++
				if match[1] != "" {
					in = match[1]
				}
				if !isTest(t, in, match[2], match[3]) {
					t.Errorf("%s: no %s in %s", document, text, in)
				}
			}
			switch {
			case !strings.HasPrefix(line, "|"):
				promises = false
			case strings.HasSuffix(line, "| test |\n"):
				promises = true
			case promises && !strings.HasPrefix(line, "| ---"):
				if rows++; names == before {
					t.Errorf("%s: no test holds %.80s", document, line)
				}
			}
		}
		if rows < tc.least || names < tc.least*3/2 {
			t.Errorf("%s has %d promises and %d names of tests", document, rows, names)
		}
	}
}

// isTest tells whether the package has such a test, and that such a script.
func isTest(t *testing.T, in, name, script string) bool {
	t.Helper()
	if script != "" {
		_, err := os.Stat("testdata/script/" + script + ".txtar")
		return in == "tests" && name == "TestScripts" && err == nil
	}
	folder := map[string]string{"tests": ".", "tests/clients": "clients", "faults": "faults"}[in]
	if folder == "" {
		folder = filepath.Join("..", in)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(path string) bool {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
			f, ok := d.(*ast.FuncDecl)
			return ok && f.Recv == nil && f.Name.Name == name
		})
	})
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLinksLeadSomewhere holds that the links of the documents lead to files that
// are there, and to headings.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s#]*)(?:#([^)\s]*))?\)`)
	found := 0
	for _, document := range strings.Fields(output(t, "git", "-C", "..", "ls-files", "*.md")) {
		for _, match := range link.FindAllStringSubmatch(readText(t, filepath.Join("..", document)), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			found++
			target := filepath.Join("..", document)
			if match[1] != "" {
				target = filepath.Join("..", filepath.Dir(document), match[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", document, err)
			} else if match[2] != "" && !slices.Contains(anchors(readText(t, target)), match[2]) {
				t.Errorf("%s: %s has no heading #%s", document, target, match[2])
			}
		}
	}
	if found < 10 {
		t.Errorf("%d links were found", found)
	}
}

// anchors are the names of the headings of a document, as the pages of a
// repository have them.
func anchors(text string) (names []string) {
	for _, heading := range regexp.MustCompile("(?m)^#+ +(.*)$").FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(plain, " ", "-"))
	}
	return names
}
