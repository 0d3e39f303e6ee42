package tests

import "testing"

// sums returns what sha256sum says of every file below dir, by relative path.
func sums(t *testing.T, dir string) string {
	t.Helper()
	return output(t, "sh", "-c", `cd "$0" && find . -type f -print0 | sort -z | xargs -0 sha256sum`, dir)
}

// TestFilesAreTheOriginals reads every file through mounts of bucket and folder
// with a program that knows nothing of us, twice: fetched, and kept.
func TestFilesAreTheOriginals(t *testing.T) {
	t.Parallel()
	for _, m := range theStage.models {
		want := sums(t, m.dir)
		for way, source := range map[string]string{"s3": "s3://" + bucket + "/" + m.name, "folder": m.dir} {
			t.Run(m.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				dir := mount(t, source).Dir
				for range 2 {
					if got := sums(t, dir); got != want {
						t.Errorf("got\n%swant\n%s", got, want)
					}
				}
			})
		}
	}
}
