package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"weightfs/gpuload/safetensors"
)

func ExampleRead() {
	header := `{"embed.weight":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},` +
		`"scale":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	file = append(file, header...)
	file = append(file, make([]byte, 16)...) // the data

	h, err := safetensors.Read("model.safetensors", bytes.NewReader(file), int64(len(file)))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range h.Tensors {
		fmt.Println(t.Name, t.DType, t.Shape, "at byte", h.Offset(t), "size", t.Size())
	}

	_, err = safetensors.Read("model.safetensors", bytes.NewReader(file), int64(len(file))-1)
	fmt.Println(err)
	// Output:
	// scale F32 [] at byte 133 size 4
	// embed.weight BF16 [2 3] at byte 137 size 12
	// parse model.safetensors: tensor "embed.weight": metadata incomplete buffer: the tensors have 16 bytes, the file has 15 after its header; the tensor's are [137,149) of the file's 148
}

func ExampleSelectFiles() {
	names := []string{"config.json", "consolidated.safetensors", "model.safetensors.index.json",
		"model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"}
	name, err := safetensors.FindIndex(names)
	if err != nil {
		fmt.Println(err)
		return
	}
	content := `{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`
	index, err := safetensors.ParseIndex(name, []byte(content))
	if err != nil {
		fmt.Println(err)
		return
	}
	files, err := safetensors.SelectFiles(names, index)
	fmt.Println(files, err)
	// Output:
	// [model-00001-of-00002.safetensors model-00002-of-00002.safetensors] <nil>
}
