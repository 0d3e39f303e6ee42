package tests

import (
	"encoding/json"
	"slices"
	"testing"

	"weightfs/tests/harness"
)

// TestInspectReadsHeadersOnly holds that inspect finds in a bucket what Python
// finds in the originals, and fetches next to nothing for it.
func TestInspectReadsHeadersOnly(t *testing.T) {
	const headers = 4 * 128 << 10 // of four shards
	m := theStage.model(t, "sharded")
	want, err := m.reference()
	if err != nil {
		t.Fatal(err)
	}
	p, env := sick(t)
	r := runWith(t, env, theStage.Gpuload, "inspect", "--json", "s3://"+bucket+"/"+m.name)
	var found struct {
		Tensors  []harness.Tensor
		Problems []string
	}
	if err := json.Unmarshal([]byte(r.Stdout), &found); err != nil || r.Code != 0 {
		t.Fatalf("exit %d: %s: %v", r.Code, r.Stderr, err)
	}
	for _, tensor := range found.Tensors {
		w := want[tensor.Name]
		if tensor.Dtype != w.Dtype || !slices.Equal(tensor.Shape, w.Shape) || tensor.Nbytes != w.Nbytes || tensor.File != w.File {
			t.Errorf("found %+v, want %+v", tensor, w)
		}
	}
	if len(found.Tensors) != len(want) || len(found.Problems) != 0 {
		t.Errorf("%d tensors and problems %q, want %d and none", len(found.Tensors), found.Problems, len(want))
	}
	if got := p.Stats().Bytes["GET"]; got > headers+1<<16 { // and the index
		t.Errorf("%d bytes were fetched, want %d at most", got, headers)
	}
}
