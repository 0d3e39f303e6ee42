package tests

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// TestInspectReadsHeadersOnly holds that inspect finds in a bucket what Python
// finds in the originals, and fetches next to nothing for it.
func TestInspectReadsHeadersOnly(t *testing.T) {
	t.Parallel()
	const headers = 4 * 128 << 10 // of four shards
	m := theStage.model(t, "sharded")
	want := m.tensors(t)
	p, env := proxied(t)
	out := rig.Succeed(t, env, theStage.Gpuload, "inspect", "--json", "s3://"+bucket+"/"+m.name)
	var found struct {
		Tensors  []rig.Tensor
		Problems []string
	}
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
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

// TestInspectOfManyTensors holds that of an object with 100,000 tensors inspect
// fetches the header alone, of which the first probe has a small part.
func TestInspectOfManyTensors(t *testing.T) {
	t.Parallel()
	const tensors, size, name = 100_000, 300, "many-tensors"
	var header strings.Builder
	for i := range tensors {
		fmt.Fprintf(&header, `,"layers.%d.weight":{"dtype":"U8","shape":[%d],"data_offsets":[%d,%d]}`, i, size, i*size, (i+1)*size)
	}
	text := "{" + header.String()[1:] + "}"
	object := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	object = append(append(object, text...), make([]byte, tensors*size)...)
	theStage.server.Fill(t, name, map[string][]byte{"model.safetensors": object})
	p, env := proxied(t)
	out := rig.Succeed(t, env, theStage.Gpuload, "inspect", "--json", "s3://"+name)
	var found struct{ Tensors []struct{ Name string } }
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found.Tensors) != tensors {
		t.Errorf("%d tensors: %v", len(found.Tensors), err)
	}
	want := int64(8 + len(text))
	if got := p.Stats().Bytes["GET"]; got < want || got > want+1<<16 { // and the listing
		t.Errorf("%d bytes were fetched, where the header has %d and the object %d", got, want, len(object))
	}
}
