package monitor

import (
	"bytes"
	"strings"
	"testing"
)

func TestReportForPeople(t *testing.T) {
	var out bytes.Buffer
	r := Report{Source: "s3://bucket", Mountpoint: "/mnt", PID: 7, UptimeSeconds: 61, MemoryLimit: 1 << 30,
		Measures: map[string]int64{"reads_total": 5}}
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"s3://bucket", "1m1s", "1GiB", "reads_total   5"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
}
