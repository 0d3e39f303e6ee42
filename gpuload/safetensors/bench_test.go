package safetensors

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// checkpoint is the header of n tensors as a large model names them, its
// entries in the order that perm gives, or in that of their data.
func checkpoint(n int, perm []int) (header []byte, data int64) {
	const size = 4096 * 14336 * 2
	header = append(header, `{"__metadata__":{"format":"pt"}`...)
	for i := range n {
		k := i
		if perm != nil {
			k = perm[i]
		}
		header = fmt.Appendf(header, `,"model.layers.%d.mlp.experts.%d.gate_proj.weight":`+
			`{"dtype":"BF16","shape":[4096,14336],"data_offsets":[%d,%d]}`, k/256, k%256, k*size, (k+1)*size)
	}
	return append(header, '}'), int64(n) * size
}

// BenchmarkParse is held against encoding/json, which checks nothing.
func BenchmarkParse(b *testing.B) {
	for _, n := range []int{300, 100_000} {
		sorted, data := checkpoint(n, nil)
		shuffled, _ := checkpoint(n, rand.New(rand.NewPCG(1, 2)).Perm(n))
		parse := func(header []byte) error {
			_, err := Parse("m", header, PrefixBytes+int64(len(header))+data)
			return err
		}
		b.Run(fmt.Sprint(n, "/sorted"), func(b *testing.B) { benchmarkHeader(b, sorted, parse) })
		b.Run(fmt.Sprint(n, "/shuffled"), func(b *testing.B) { benchmarkHeader(b, shuffled, parse) })
		b.Run(fmt.Sprint(n, "/encoding-json"), func(b *testing.B) { benchmarkHeader(b, sorted, unmarshal) })
	}
}

func benchmarkHeader(b *testing.B, header []byte, parse func([]byte) error) {
	b.SetBytes(int64(len(header)))
	b.ReportAllocs()
	for b.Loop() {
		if err := parse(header); err != nil {
			b.Fatal(err)
		}
	}
}

// unmarshal is what a parser over encoding/json would begin with.
func unmarshal(header []byte) error {
	var entries map[string]struct {
		DType   string    `json:"dtype"`
		Shape   []uint64  `json:"shape"`
		Offsets [2]uint64 `json:"data_offsets"`
	}
	return json.Unmarshal(header, &entries)
}
