// Package cuda is NVIDIA GPUs as devices of gpuload, over gorgonia.org/cu.
//
// A [Device] is one GPU's primary context, shared with whatever else in the
// process uses the CUDA runtime. CUDA binds a context to an OS thread, Go moves
// goroutines between threads: so every call into the driver locks its thread
// and sets the context for that call. Setting it costs well under a
// microsecond; a copy of 8 MiB takes 160.
//
// [Open] returns while the context is still being created. Staging can be taken
// and read into meanwhile; it is page-locked before the first copy from it.
//
// Bytes travel file → staging → device memory. Staging is anonymous memory in
// huge pages that is touched, then page-locked in place by the driver: that
// takes a tenth of the time of the driver's own page-locked allocation. Where that
// is refused, as in confidential computing, staging is such an allocation. Copies
// are asynchronous and refuse any source but staging, because the Go heap's
// memory is pageable, which costs nine tenths of the speed, and because nothing
// would keep it alive. Copies of 8 MiB and more reach the bus's rate; more than
// two streams gain nothing ([Device.Advice]).
//
// Memory of another process's, which this one has mapped, is copied from in place once
// it is registered ([Device.Register]).
//
// A Device owns everything taken from it: memory, staging, streams, events, and
// a few small page-locked buffers through which reads back from it go. Close
// frees what is left.
//
// [List] and [Open] start the driver, and their error says where it does not
// start; nothing here ends the process. gorgonia.org/cu would, when its package is
// initialized: so cuInit, of which it is the first caller, starts nothing when it
// is first called in a program that has this package.
//
// Everything but this comment stands behind the build tag cuda. A program built
// with the tag needs libcuda.so.1 of NVIDIA's driver to be run at all. That is why
// the command gpuload is built without the tag, and executes gpuload-cuda where the
// device is a GPU.
//
// To build with the tag, cgo has to find cuda.h and a libcuda.so to link with:
// eval "$(tests/tools/cuda.sh env)" sets both, also where no CUDA toolkit is.
// The folder include holds a header that goes before CUDA 13's.
package cuda
