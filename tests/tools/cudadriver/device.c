/* The driver itself, its devices, their contexts and memory. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_DEVICES = 8 };

pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;
struct ranges page_locked;
static struct ranges host_memory; /* of those the driver's own; guarded by driver_lock */
_Thread_local CUcontext current;
static struct CUctx_st contexts[MAX_DEVICES]; /* guarded by driver_lock */

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

bool contain(const struct ranges *r, uintptr_t start, size_t size)
{
	for (int i = 0; i < r->count; i++)
		if (start >= r->at[i].start && start + size <= r->at[i].start + r->at[i].size)
			return true;
	return false;
}

bool enter(void)
{
	pthread_mutex_lock(&driver_lock);
	if (current && current->references > 0)
		return true;
	pthread_mutex_unlock(&driver_lock);
	return false;
}

CUresult leave(CUresult result)
{
	pthread_mutex_unlock(&driver_lock);
	return result;
}

/* Adds a number to the file of that name, if there is one. */
static void add_line(const char *name, long number)
{
	FILE *file = name ? fopen(name, "a") : NULL;
	if (file) {
		fprintf(file, "%ld\n", number);
		fclose(file);
	}
}

/* Whether all of a range is mapped and can be written, and whether it is shared. */
static bool writable(uintptr_t start, size_t size, bool *shared)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	if (!maps)
		return false;
	uintptr_t at = start;
	char line[8192];
	while (at < start + size && fgets(line, sizeof line, maps)) {
		unsigned long low, high;
		char mode[5];
		if (sscanf(line, "%lx-%lx %4s", &low, &high, mode) != 3 || high <= at)
			continue;
		if (low > at || mode[1] != 'w')
			break;
		*shared = *shared || mode[3] == 's';
		at = high;
	}
	fclose(maps);
	return at >= start + size;
}

/* The driver and its devices. */

CUresult cuInit(unsigned int flags)
{
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	add_line(getenv("CUDADRIVER_STARTS"), (long)getpid());
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
	case CUDA_ERROR_NO_DEVICE: *text = "no CUDA-capable device is detected"; break;
	case CUDA_ERROR_INVALID_VALUE: *text = "invalid argument"; break;
	case CUDA_ERROR_OUT_OF_MEMORY: *text = "out of memory"; break;
	case CUDA_ERROR_INVALID_CONTEXT: *text = "invalid device context"; break;
	case CUDA_ERROR_INVALID_DEVICE: *text = "invalid device ordinal"; break;
	case CUDA_ERROR_NOT_PERMITTED: *text = "operation not permitted"; break;
	case CUDA_ERROR_NOT_SUPPORTED: *text = "operation not supported"; break;
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

/* Waits while the file of that name is there. */
static void wait_while_held(const char *file)
{
	while (file && access(file, F_OK) == 0)
		usleep(1000); /* a signal, by which Go preempts threads, ends it early */
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
	if (device < 0 || device >= device_count() || device >= MAX_DEVICES)
		return CUDA_ERROR_INVALID_DEVICE;
	wait_while_held(getenv("CUDADRIVER_CONTEXT_HELD"));
	if (getenv("CUDADRIVER_CONTEXT_FAILS"))
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&driver_lock);
	contexts[device].references++;
	*context = &contexts[device];
	return leave(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
	pthread_mutex_lock(&driver_lock);
	CUcontext c = &contexts[device];
	if (c->references == 0)
		return leave(CUDA_ERROR_INVALID_CONTEXT);
	c->references--;
	if (c->references == 0 && (c->memory.count || c->streams || c->events || page_locked.count)) {
		fprintf(stderr, "context released with %d allocations, %d streams, %d events and %d page-locked ranges\n",
			c->memory.count, c->streams, c->events, page_locked.count);
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
	if (getenv("CUDADRIVER_NO_REGISTER"))
		return leave(CUDA_ERROR_NOT_SUPPORTED);
	for (int i = 0; i < page_locked.count; i++)
		if ((uintptr_t)address < page_locked.at[i].start + page_locked.at[i].size && page_locked.at[i].start < (uintptr_t)address + size)
			return leave(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
	bool shared = false;
	if (!writable((uintptr_t)address, size, &shared))
		return leave(CUDA_ERROR_INVALID_VALUE);
	if (shared && getenv("CUDADRIVER_NO_SHARED"))
		return leave(CUDA_ERROR_NOT_PERMITTED);
	if (shared)
		add_line(getenv("CUDADRIVER_REGISTERED"), (long)size);
	return leave(add(&page_locked, (uintptr_t)address, size) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult cuMemHostUnregister(void *address)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (contain(&host_memory, (uintptr_t)address, 1))
		return leave(CUDA_ERROR_INVALID_VALUE);
	return leave(take_out(&page_locked, (uintptr_t)address) ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

/* Within a page, as small allocations of the real one are. */
enum { HOST_OFFSET = 512 };

CUresult cuMemHostAlloc(void **address, size_t size, unsigned int flags)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (flags || size == 0)
		return leave(CUDA_ERROR_INVALID_VALUE);
	char *p = mmap(NULL, HOST_OFFSET + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || !add(&page_locked, (uintptr_t)p + HOST_OFFSET, size))
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	add(&host_memory, (uintptr_t)p + HOST_OFFSET, size);
	*address = p + HOST_OFFSET;
	return leave(CUDA_SUCCESS);
}

CUresult cuMemFreeHost(void *address)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	size_t size = take_out(&host_memory, (uintptr_t)address);
	if (size == 0)
		return leave(CUDA_ERROR_INVALID_VALUE);
	take_out(&page_locked, (uintptr_t)address);
	munmap((char *)address - HOST_OFFSET, HOST_OFFSET + size);
	return leave(CUDA_SUCCESS);
}
