/*
 * A CUDA driver that needs no GPU: the few functions that gpuload calls, over
 * host memory, so that the cuda build runs in tests on any machine. It is no
 * model of a GPU's speed, and stricter than the real driver where that one
 * forgives:
 *   - a call on a thread with no current context fails
 *   - an asynchronous copy fails unless its host side is page-locked memory
 *   - memory that cannot be written is not page-locked, as on x86 GPUs, nor twice
 *   - releasing the context fails while anything taken from it is not freed
 * Each stream is a thread that performs its copies in order.
 *
 * Environment: CUDADRIVER_DEVICES (1), CUDADRIVER_MEMORY, bytes of each device
 * (8 GiB), CUDADRIVER_WRONG: each copy to a device leaves one bit wrong,
 * CUDADRIVER_LATE_ERROR: the third copy to a device fails, as events tell,
 * CUDADRIVER_CONTEXT_HELD: no context is created while a file of this name is
 * there, CUDADRIVER_CONTEXT_FAILS: creating one runs out of memory,
 * CUDADRIVER_NO_REGISTER: memory that the driver did not allocate is not
 * page-locked, as in confidential computing, CUDADRIVER_NO_SHARED: nor is memory
 * that is shared with other processes, CUDADRIVER_REGISTERED: a file to which each
 * shared range that is page-locked adds a line with its bytes, and
 * CUDADRIVER_STARTS: a file to which each start of the driver adds a line, with the
 * process.
 */
#ifndef CUDADRIVER_H
#define CUDADRIVER_H

#include <cuda.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_RANGES = 65536 };

/* A set of ranges of addresses, small enough to be searched from the front. */
struct ranges {
	struct range { uintptr_t start; size_t size; } at[MAX_RANGES];
	int count;
};

/* A device's primary context; all of it is guarded by driver_lock. */
struct CUctx_st {
	int references;
	size_t used;
	int streams, events;
	struct ranges memory;
};

extern pthread_mutex_t driver_lock;
extern struct ranges page_locked; /* guarded by driver_lock */

/* The calling thread's context, or NULL. */
extern _Thread_local CUcontext current;

bool contain(const struct ranges *r, uintptr_t start, size_t size);

/* enter takes the lock where the thread has a living context. */
bool enter(void);

/* leave gives the lock back, and returns result. */
CUresult leave(CUresult result);

#endif /* CUDADRIVER_H */
