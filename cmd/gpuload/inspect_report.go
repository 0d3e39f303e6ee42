package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
)

// maxAlignment is the largest alignment that is told apart: a page's.
const maxAlignment = 4096

// inspection is what the headers of a source say. Its JSON is what
// "gpuload inspect --json" prints.
type inspection struct {
	Source  string              `json:"source"`
	Files   []inspectedFile     `json:"files"`
	Tensors []inspectedTensor   `json:"tensors"`
	DTypes  map[string]subtotal `json:"dtypes"`
	Total   subtotal            `json:"total"`
	// Unaligned counts the tensors whose offset in the file is no multiple of
	// their element size.
	Unaligned int `json:"unaligned_tensors"`
	// Problems are what a load would fail of, each a line for a person.
	Problems []string `json:"problems"`
}

// subtotal counts tensors and the bytes of their data.
type subtotal struct {
	Tensors int   `json:"tensors"`
	Bytes   int64 `json:"bytes"`
}

func (s *subtotal) add(bytes int64) { s.Tensors, s.Bytes = s.Tensors+1, s.Bytes+bytes }

// inspectedFile is one file. Without a readable header it has no tensors.
type inspectedFile struct {
	File     string            `json:"file"`
	Path     string            `json:"path"`
	Bytes    int64             `json:"file_bytes"`
	Header   int64             `json:"header_bytes"` // where the data begins
	Metadata map[string]string `json:"metadata"`
	subtotal
}

// inspectedTensor is one tensor, with the fields of a manifest.
type inspectedTensor struct {
	Name   string   `json:"name"`
	DType  string   `json:"dtype"`
	Shape  []uint64 `json:"shape"`
	File   string   `json:"file"`
	Offset int64    `json:"offset"` // from the start of the file
	NBytes int64    `json:"nbytes"`
	// Alignment is the largest power of two, up to a page, that divides Offset.
	Alignment int64 `json:"alignment"`
	Aligned   bool  `json:"aligned"` // to the size of an element
}

func newInspection(sources []string) *inspection {
	return &inspection{
		Source:   strings.Join(sources, " "),
		Files:    []inspectedFile{},
		Tensors:  []inspectedTensor{},
		DTypes:   make(map[string]subtotal),
		Problems: []string{},
	}
}

// addFile adds a file with its tensors, or with what is wrong with its header.
func (n *inspection) addFile(f *gpuload.File, header *safetensors.Header, err error) {
	file := inspectedFile{File: f.Name(), Path: f.Path(), Bytes: f.Size()}
	if err != nil {
		n.Files = append(n.Files, file)
		n.Problems = append(n.Problems, err.Error())
		return
	}
	file.Header, file.Metadata = header.DataStart, header.Metadata
	n.Tensors = slices.Grow(n.Tensors, len(header.Tensors))
	for _, t := range header.Tensors {
		n.addTensor(f.Name(), t, header.Offset(t))
		file.add(t.Size())
	}
	n.Files = append(n.Files, file)
}

func (n *inspection) addTensor(file string, t safetensors.Tensor, offset int64) {
	aligned := offset%t.DType.Alignment() == 0
	n.Tensors = append(n.Tensors, inspectedTensor{
		Name: t.Name, DType: t.DType.String(), Shape: t.Shape, File: file, Offset: offset, NBytes: t.Size(),
		Alignment: min(offset&-offset, maxAlignment), Aligned: aligned,
	})
	if !aligned {
		n.Unaligned++
	}
	of := n.DTypes[t.DType.String()]
	of.add(t.Size())
	n.DTypes[t.DType.String()] = of
	n.Total.add(t.Size())
}

// failure is nil if there is no problem.
func (n *inspection) failure() error {
	switch len(n.Problems) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("inspect %s: %s", n.Source, n.Problems[0])
	}
	return fmt.Errorf("inspect %s: %d problems, the first: %s", n.Source, len(n.Problems), n.Problems[0])
}

func (n *inspection) writeJSON(w io.Writer) error {
	buffered := bufio.NewWriter(w)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(n); err != nil {
		return err
	}
	return buffered.Flush()
}

// writeTable writes tables of the tensors, files and dtypes, the total, and the
// problems.
func (n *inspection) writeTable(w io.Writer) error {
	buffered := bufio.NewWriter(w)
	table := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENSOR\tDTYPE\tSHAPE\tBYTES\tOFFSET\tALIGNMENT\tFILE")
	for _, t := range n.Tensors {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n",
			printable(t.Name), t.DType, shape(t.Shape), t.NBytes, t.Offset, t.alignment(), printable(t.File))
	}
	n.writeSubtotals(table)
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(buffered, "\n%s in %s, %d bytes (%s)",
		english.Plural(n.Total.Tensors, "tensor", ""), english.Plural(len(n.Files), "file", ""), n.Total.Bytes, humanize.IBytes(uint64(n.Total.Bytes)))
	if n.Unaligned > 0 {
		fmt.Fprintf(buffered, "; %d not aligned to their element size", n.Unaligned)
	}
	fmt.Fprintln(buffered)
	for _, problem := range n.Problems {
		fmt.Fprintln(buffered, "problem:", problem)
	}
	return buffered.Flush()
}

// writeSubtotals writes the tables of the files and dtypes. An empty line ends
// the columns of the table before.
func (n *inspection) writeSubtotals(table io.Writer) {
	fmt.Fprintln(table, "\nFILE\tTENSORS\tBYTES\tHEADER")
	for _, f := range n.Files {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\n", printable(f.File), f.Tensors, f.subtotal.Bytes, f.Header)
	}
	fmt.Fprintln(table, "\nDTYPE\tTENSORS\tBYTES")
	byBytes := func(a, b string) int {
		return cmp.Or(cmp.Compare(n.DTypes[b].Bytes, n.DTypes[a].Bytes), cmp.Compare(a, b))
	}
	for _, dtype := range slices.SortedFunc(maps.Keys(n.DTypes), byBytes) {
		fmt.Fprintf(table, "%s\t%d\t%d\n", dtype, n.DTypes[dtype].Tensors, n.DTypes[dtype].Bytes)
	}
}

// alignment marks what is less than an element's.
func (t inspectedTensor) alignment() string {
	if t.Aligned {
		return strconv.FormatInt(t.Alignment, 10)
	}
	return strconv.FormatInt(t.Alignment, 10) + " (unaligned)"
}

// shape is [2,3], and [] for a scalar.
func shape(dims []uint64) string {
	return strings.ReplaceAll(fmt.Sprint(dims), " ", ",")
}

// printable quotes a name that would break the table, and cuts a long one.
func printable(name string) string {
	const limit = 200
	cut := name
	if len(cut) > limit {
		cut = cut[:limit]
	}
	if quoted := strconv.Quote(cut); quoted != `"`+cut+`"` || cut == "" || strings.Contains(cut, " ") {
		cut = quoted
	}
	if len(name) > limit {
		return fmt.Sprintf("%s... (%d bytes)", cut, len(name))
	}
	return cut
}
