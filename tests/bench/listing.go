package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
)

// tree is a folder of small objects: folders times files.
type tree struct {
	name           string
	folders, files int
}

func manyFolders() tree { return tree{"folders", 1000, 100} }
func oneFolder() tree   { return tree{"long", 1, 20000} }

func (t tree) objects() int { return t.folders * t.files }

func folderName(i int) string { return fmt.Sprintf("step-%05d", i) }

// storeTree makes the objects where the server finds them. By its API that
// would take minutes.
func (l *bench) storeTree(t tree) error {
	if _, ok := l.stored[t.name]; ok {
		return nil
	}
	for i := range t.folders {
		dir := filepath.Join(l.Server.Dir, bucket, t.name, folderName(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for k := range t.files {
			if err := storeSmall(filepath.Join(dir, fmt.Sprintf("tensor-%05d.bin", k)), k); err != nil {
				return err
			}
		}
	}
	l.stored[t.name] = files{}
	return nil
}

// storeSmall writes one object with the attributes that the server gives it.
func storeSmall(path string, k int) error {
	if err := os.WriteFile(path, make([]byte, k%16), 0o644); err != nil {
		return err
	}
	etag := fmt.Sprintf(`"%032x"`, k)
	if err := unix.Setxattr(path, "user.etag", []byte(etag), 0); err != nil {
		return fmt.Errorf("ETag of %s: %w", path, err)
	}
	return nil
}

// listers are the plain client that lists a tree: 32 of its folders at once, or all
// of its names without folders. A folder at a time it would wait for 1,000 round
// trips.
func listers(where store) swept {
	ways := []workload.List{{AtOnce: 32}, {AtOnce: 1, Flat: true}}
	return swept{
		name:     "plain listing, " + where.String(),
		settings: []string{"32 folders at once", "flat"},
		score:    func(o outcome) float64 { return float64(o.report.Items) / o.report.Seconds() }, unit: lab.Count, runs: 1,
		sample: func(i int) sample {
			return func(ctx context.Context, l *bench) (outcome, error) {
				t, way := manyFolders(), ways[i]
				if err := l.storeTree(t); err != nil {
					return outcome{}, err
				}
				way.Bucket, way.Prefix = bucket, t.name+"/"
				o, err := l.work(ctx, workload.Options{Env: l.reach(where)}, &way)
				if err == nil && o.report.Items != int64(t.objects()) {
					err = fmt.Errorf("the plain client lists %d of %d objects", o.report.Items, t.objects())
				}
				return o, err
			}
		},
	}
}

// The names of a listing's values.
const (
	perFileValue = "per file"
	againValue   = "again"
)

// findTree runs find over the tree, through a new mount, two times. Timed and
// counted is the first.
func findTree(where store, t tree) sample {
	return inTree(where, t, func(ctx context.Context, l *bench, m *mount) (outcome, error) {
		find := func() (outcome, error) {
			return l.work(ctx, workload.Options{}, &workload.Find{Dir: filepath.Join(m.Dir, t.name)})
		}
		o, err := m.count(ctx, find)
		if err != nil {
			return o, err
		}
		if o.report.Items != int64(t.objects()) {
			return o, fmt.Errorf("find lists %d of %d objects", o.report.Items, t.objects())
		}
		again, err := m.count(ctx, find)
		o.values = map[string]float64{
			perFileValue: float64(o.traffic.GETs + o.traffic.HEADs),
			againValue:   float64(again.traffic.GETs + again.traffic.HEADs + again.traffic.LISTs),
		}
		return o, err
	})
}

// namesOf reads the names of a long folder, which must be in order.
func namesOf(t tree) sample {
	return inTree(loopback, t, func(ctx context.Context, l *bench, m *mount) (outcome, error) {
		o, err := m.count(ctx, func() (outcome, error) {
			return l.work(ctx, workload.Options{}, &workload.Names{Dir: filepath.Join(m.Dir, t.name, folderName(0))})
		})
		o.values = map[string]float64{"names": float64(o.report.Items), "objects": float64(t.objects())}
		return o, err
	})
}

// inTree does something with a new mount of the store that the tree is in.
func inTree(where store, t tree, do func(context.Context, *bench, *mount) (outcome, error)) sample {
	return func(ctx context.Context, l *bench) (outcome, error) {
		if err := l.storeTree(t); err != nil {
			return outcome{}, err
		}
		return l.withMount(ctx, mountSpec{where: where}, func(m *mount) (outcome, error) { return do(ctx, l, m) })
	}
}
