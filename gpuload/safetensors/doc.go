// Package safetensors parses and validates the headers of safetensors files
// and decides which files of a checkpoint folder are loaded.
//
// A safetensors file is 8 bytes N (unsigned, little endian), N bytes of JSON
// that name each tensor with its dtype, shape and data offsets, and the data
// section, in which the tensors lie without a hole:
//
//	[8]byte N | [N]byte {"name": {"dtype", "shape", "data_offsets"}, ...} | data
//
// The package does no I/O of its own: a caller that has the bytes uses
// [HeaderLen] and [Parse], one that has an [io.ReaderAt] uses [Read]. A header
// that parses is safe to use unchecked: every tensor lies within the file, no
// two overlap, and each one's size is that of its shape and dtype. A header
// that does not is refused with a [*FormatError], by the checks and in the
// order of the reference implementation (the Rust crate safetensors), each
// with its own sentinel. It accepts what the reference does but for duplicate
// keys, which the format forbids, and two spellings that no writer uses and
// the reference's JSON library happens to take: an entry as an array and a
// dtype as an object.
//
// Checkpoints come in several files. [FindIndex], [ParseIndex] and
// [SelectFiles] (or [Survey], for a report) decide from a folder's listing
// which files make up the model, [RankPattern] does so where each rank has its
// own files, [Numbered] finds gaps in -00001-of-00005 numbering, and
// [Conflicts] finds tensors that are claimed twice or missing once the headers
// are known. All of these are pure.
//
// Values are immutable after they were returned and therefore safe for
// concurrent use.
package safetensors
