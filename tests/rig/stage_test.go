package rig

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// fakeTests stands for the tests of a package.
type fakeTests func() int

func (f fakeTests) Run() int { return f() }

func TestStage(t *testing.T) {
	built := t.TempDir()
	if _, err := Build(t.Context(), built); err != nil {
		t.Fatal(err)
	}
	t.Setenv(builtVariable, built)
	errWrong := errors.New("wrong")
	for name, c := range map[string]struct {
		fails   string // the step that fails
		code    int    // of the tests
		want    int
		happens []string
	}{
		"passes":        {"", 0, 0, []string{"prepare", "tests", "end 2", "end 1"}},
		"tests fail":    {"", 2, 2, []string{"prepare", "tests", "end 2", "end 1"}},
		"prepare fails": {"prepare", 0, 1, []string{"prepare", "end 2", "end 1"}},
		"an end fails":  {"end 2", 0, 0, []string{"prepare", "tests", "end 2", "end 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var happened []string
			var stage *Stage
			step := func(name string) error {
				if _, err := os.Stat(filepath.Join(stage.Scratch, "mountd")); err != nil {
					t.Errorf("at %q: %v", name, err)
				}
				if err := stage.Server.CreateBucket(t.Context(), "bucket"); err != nil {
					t.Errorf("at %q the server says %v", name, err)
				}
				happened = append(happened, name)
				if name == c.fails {
					return errWrong
				}
				return nil
			}
			code, err := runOnStage(fakeTests(func() int { _ = step("tests"); return c.code }), "rig", ServerOptions{}, func(_ context.Context, s *Stage) error {
				stage = s
				s.AtEnd(func() error { return step("end 1") })
				s.AtEnd(func() error { return step("end 2") })
				return step("prepare")
			})
			if code != c.want || errors.Is(err, errWrong) != (c.fails != "") || !slices.Equal(happened, c.happens) {
				t.Errorf("code %d, %v, after %q", code, err, happened)
			}
			if _, err := os.Stat(stage.Scratch); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the scratch folder is left: %v", err)
			}
			if !closed(stage.Server.proc.Done()) {
				t.Error("the server runs on")
			}
		})
	}
}

func closed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
