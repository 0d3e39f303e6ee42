package names

import "testing"

func TestNextShard(t *testing.T) {
	cases := []struct{ name, want string }{
		{"model-00001-of-00030.safetensors", "model-00002-of-00030.safetensors"},
		{"model-00009-of-00030.safetensors", "model-00010-of-00030.safetensors"},
		{"model-00029-of-00030.safetensors", "model-00030-of-00030.safetensors"},
		{"model-00030-of-00030.safetensors", ""},
		{"model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"},
		{"pytorch_model-9-of-10.bin", "pytorch_model-10-of-10.bin"},
		{"a-1-of-2-b-3-of-7.bin", "a-1-of-2-b-4-of-7.bin"},
		{"a-1-of-2-of-hearts", "a-2-of-2-of-hearts"},
		{"x-99999-of-100000", "x-100000-of-100000"},
		{"model.safetensors", ""},
		{"best-of-all.bin", ""},
		{"1-of-2.bin", ""},
		{"model-00001-of-.bin", ""},
		{"model--of-00002.bin", ""},
		{"model-99999999999-of-99999999999.bin", ""},
		{"model00001-of-00002.bin", ""},
		{"", ""},
	}
	for _, c := range cases {
		got, ok := nextShard(c.name)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("nextShard(%q) = %q, %t, want %q", c.name, got, ok, c.want)
		}
	}
}

func FuzzNextShard(f *testing.F) {
	f.Add("model-00001-of-00030.safetensors")
	f.Add("-1-of-2")
	f.Fuzz(func(t *testing.T, name string) {
		next, ok := nextShard(name)
		if ok && (next == name || len(next) < len(name)) {
			t.Fatalf("nextShard(%q) = %q", name, next)
		}
	})
}
