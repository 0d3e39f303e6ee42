/*
 * A CUDA driver that needs no GPU: the few functions that gpuload calls, over
 * host memory, so that the cuda build runs in tests on any machine. It is no
 * model of a GPU's speed, and stricter than the real driver where that one
 * forgives:
 *   - a call on a thread with no current context fails
 *   - an asynchronous copy fails unless its host side is page-locked memory
 *   - releasing the context fails while anything taken from it is not freed
 * Each stream is a thread that performs its copies in order.
 *
 * Environment: CUDADRIVER_DEVICES (1), CUDADRIVER_MEMORY, bytes of each device
 * (8 GiB).
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_DEVICES = 8, MAX_RANGES = 65536 };

/* A set of ranges of addresses, small enough to be searched from the front. */
struct ranges {
	struct range { uintptr_t start; size_t size; } at[MAX_RANGES];
	int count;
};

struct CUctx_st {
	int device;
	int references;
	size_t used;
	int streams, events;
	struct ranges memory;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct CUctx_st contexts[MAX_DEVICES]; /* guarded by lock */
static struct ranges locked;                  /* guarded by lock; page-locked memory */
static _Thread_local CUcontext current;

static long setting(const char *name, long otherwise)
{
	const char *value = getenv(name);
	return value ? atol(value) : otherwise;
}

static int device_count(void) { return (int)setting("CUDADRIVER_DEVICES", 1); }
static size_t device_memory(void) { return (size_t)setting("CUDADRIVER_MEMORY", 8L << 30); }

static bool add(struct ranges *r, uintptr_t start, size_t size)
{
	if (r->count == MAX_RANGES)
		return false;
	r->at[r->count++] = (struct range){start, size};
	return true;
}

static size_t take_out(struct ranges *r, uintptr_t start)
{
	for (int i = 0; i < r->count; i++) {
		if (r->at[i].start == start) {
			size_t size = r->at[i].size;
			r->at[i] = r->at[--r->count];
			return size;
		}
	}
	return 0;
}

static bool contain(const struct ranges *r, uintptr_t start, size_t size)
{
	for (int i = 0; i < r->count; i++)
		if (start >= r->at[i].start && start + size <= r->at[i].start + r->at[i].size)
			return true;
	return false;
}

/* enter takes the lock where the thread has a living context. */
static bool enter(void)
{
	pthread_mutex_lock(&lock);
	if (current && current->references > 0)
		return true;
	pthread_mutex_unlock(&lock);
	return false;
}

static CUresult leave(CUresult result)
{
	pthread_mutex_unlock(&lock);
	return result;
}

/* The driver and its devices. */

CUresult cuInit(unsigned int flags)
{
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	return device_count() > 0 ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version)
{
	*version = 12040;
	return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
	switch (error) {
	case CUDA_ERROR_INVALID_VALUE: *text = "invalid argument"; break;
	case CUDA_ERROR_OUT_OF_MEMORY: *text = "out of memory"; break;
	case CUDA_ERROR_INVALID_CONTEXT: *text = "invalid device context"; break;
	case CUDA_ERROR_INVALID_DEVICE: *text = "invalid device ordinal"; break;
	case CUDA_ERROR_ILLEGAL_STATE: *text = "something is still in use"; break;
	case CUDA_ERROR_STUB_LIBRARY: *text = "not in the driver for tests"; break;
	default: return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
	*count = device_count();
	return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	*device = ordinal;
	return ordinal >= 0 && ordinal < device_count() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
	(void)device;
	snprintf(name, (size_t)length, "Driver for tests");
	return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
	(void)device;
	*bytes = device_memory();
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *id, int length, CUdevice device)
{
	snprintf(id, (size_t)length, "0000:%02x:00.0", device + 1);
	return CUDA_SUCCESS;
}

/* Contexts. */

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
	if (device < 0 || device >= device_count() || device >= MAX_DEVICES)
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&lock);
	contexts[device].device = device;
	contexts[device].references++;
	*context = &contexts[device];
	return leave(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
	pthread_mutex_lock(&lock);
	CUcontext c = &contexts[device];
	if (c->references == 0)
		return leave(CUDA_ERROR_INVALID_CONTEXT);
	c->references--;
	if (c->references == 0 && (c->memory.count || c->streams || c->events || locked.count)) {
		fprintf(stderr, "context released with %d allocations, %d streams, %d events and %d page-locked ranges\n",
			c->memory.count, c->streams, c->events, locked.count);
		return leave(CUDA_ERROR_ILLEGAL_STATE);
	}
	return leave(CUDA_SUCCESS);
}

CUresult cuCtxSetCurrent(CUcontext context)
{
	current = context;
	return CUDA_SUCCESS;
}

/* Memory. */

CUresult cuMemGetInfo(size_t *available, size_t *total)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	*total = device_memory();
	*available = *total - current->used;
	return leave(CUDA_SUCCESS);
}

CUresult cuMemAlloc(CUdeviceptr *address, size_t size)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (size == 0)
		return leave(CUDA_ERROR_INVALID_VALUE);
	if (size > device_memory() - current->used)
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED || !add(&current->memory, (uintptr_t)p, size))
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	current->used += size;
	*address = (CUdeviceptr)p;
	return leave(CUDA_SUCCESS);
}

CUresult cuMemFree(CUdeviceptr address)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	size_t size = take_out(&current->memory, (uintptr_t)address);
	if (size == 0)
		return leave(CUDA_ERROR_INVALID_VALUE);
	current->used -= size;
	munmap((void *)address, size);
	return leave(CUDA_SUCCESS);
}

CUresult cuMemHostRegister(void *address, size_t size, unsigned int flags)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	if (flags || size == 0 || (uintptr_t)address % page || size % page)
		return leave(CUDA_ERROR_INVALID_VALUE);
	return leave(add(&locked, (uintptr_t)address, size) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult cuMemHostUnregister(void *address)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	return leave(take_out(&locked, (uintptr_t)address) ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr address)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!contain(&current->memory, (uintptr_t)address, 1))
		return leave(CUDA_ERROR_INVALID_VALUE);
	memset(handle, 0, sizeof *handle);
	memcpy(handle, &address, sizeof address);
	return leave(CUDA_SUCCESS);
}

/* Streams and events. A stream's thread takes operations from a list; an event
 * counts how often it was recorded, and how often that point was reached. */

struct CUevent_st {
	uint64_t recorded, reached; /* guarded by lock */
	bool destroyed;             /* guarded by lock */
};

struct operation {
	struct operation *next;
	void *to;
	const void *from;
	size_t size;
	CUevent event; /* or NULL */
	uint64_t recording;
	bool last;
};

struct CUstream_st {
	CUcontext context;
	pthread_t thread;
	pthread_cond_t filled;
	struct operation *first, **end; /* guarded by lock */
};

static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;

static void *perform(void *argument)
{
	CUstream s = argument;
	for (bool last = false; !last;) {
		pthread_mutex_lock(&lock);
		while (!s->first)
			pthread_cond_wait(&s->filled, &lock);
		struct operation *o = s->first;
		if (!(s->first = o->next))
			s->end = &s->first;
		pthread_mutex_unlock(&lock);
		if (o->size)
			memcpy(o->to, o->from, o->size);
		pthread_mutex_lock(&lock);
		if (o->event && o->event->reached < o->recording)
			o->event->reached = o->recording;
		pthread_cond_broadcast(&progress);
		pthread_mutex_unlock(&lock);
		last = o->last;
		free(o);
	}
	return NULL;
}

/* enqueue wants the lock held. */
static void enqueue(CUstream s, struct operation o)
{
	struct operation *copy = malloc(sizeof *copy);
	*copy = o;
	copy->next = NULL;
	*s->end = copy;
	s->end = &copy->next;
	pthread_cond_signal(&s->filled);
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (flags != CU_STREAM_NON_BLOCKING)
		return leave(CUDA_ERROR_INVALID_VALUE);
	CUstream s = calloc(1, sizeof *s);
	s->context = current;
	s->end = &s->first;
	pthread_cond_init(&s->filled, NULL);
	pthread_create(&s->thread, NULL, perform, s);
	current->streams++;
	*stream = s;
	return leave(CUDA_SUCCESS);
}

CUresult cuStreamDestroy(CUstream s)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	enqueue(s, (struct operation){.last = true});
	s->context->streams--;
	leave(CUDA_SUCCESS);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->filled);
	free(s);
	return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream s)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (s->context != current || !contain(&current->memory, (uintptr_t)to, size) ||
	    !contain(&locked, (uintptr_t)from, size))
		return leave(CUDA_ERROR_INVALID_VALUE);
	enqueue(s, (struct operation){.to = (void *)to, .from = from, .size = size});
	return leave(CUDA_SUCCESS);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream s)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (s->context != current || !contain(&current->memory, (uintptr_t)from, size) ||
	    !contain(&locked, (uintptr_t)to, size))
		return leave(CUDA_ERROR_INVALID_VALUE);
	enqueue(s, (struct operation){.to = to, .from = (const void *)from, .size = size});
	return leave(CUDA_SUCCESS);
}

CUresult cuEventCreate(CUevent *event, unsigned int flags)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (flags & ~(unsigned)(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING))
		return leave(CUDA_ERROR_INVALID_VALUE);
	*event = calloc(1, sizeof **event);
	current->events++;
	return leave(CUDA_SUCCESS);
}

CUresult cuEventDestroy(CUevent e)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (e->destroyed)
		return leave(CUDA_ERROR_INVALID_HANDLE);
	e->destroyed = true; /* never freed, so that use after it is seen */
	current->events--;
	return leave(CUDA_SUCCESS);
}

CUresult cuEventRecord(CUevent e, CUstream s)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (e->destroyed || s->context != current)
		return leave(CUDA_ERROR_INVALID_HANDLE);
	enqueue(s, (struct operation){.event = e, .recording = ++e->recorded});
	return leave(CUDA_SUCCESS);
}

CUresult cuEventQuery(CUevent e)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (e->destroyed)
		return leave(CUDA_ERROR_INVALID_HANDLE);
	return leave(e->reached == e->recorded ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY);
}

CUresult cuEventSynchronize(CUevent e)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (e->destroyed)
		return leave(CUDA_ERROR_INVALID_HANDLE);
	uint64_t recording = e->recorded;
	while (e->reached < recording)
		pthread_cond_wait(&progress, &lock);
	return leave(CUDA_SUCCESS);
}
