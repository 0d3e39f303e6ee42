/* Streams and events. A stream's thread takes operations from a list; an event
 * counts how often it was recorded, and how often that point was reached. */

#include "driver.h"

#include <stdlib.h>
#include <string.h>

struct CUevent_st {
	uint64_t recorded, reached; /* guarded by driver_lock */
	bool destroyed;             /* guarded by driver_lock */
};

struct operation {
	struct operation *next;
	void *to;
	const void *from;
	size_t size;
	bool to_device;
	CUevent event; /* or NULL */
	uint64_t recording;
	bool last;
};

struct CUstream_st {
	CUcontext context;
	pthread_t thread;
	pthread_cond_t filled;
	struct operation *first, **end; /* guarded by driver_lock */
};

static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;

/* wrong flips a bit of what a copy to the device has written, where the variable
 * CUDADRIVER_WRONG is set: a device whose memory cannot be trusted. */
static void wrong(struct operation *o)
{
	if (o->to_device && getenv("CUDADRIVER_WRONG"))
		((uint8_t *)o->to)[o->size / 2] ^= 1;
}

/* failed says that a copy has failed, which every event tells from then on, as after
 * a bad address on a GPU; guarded by driver_lock. */
static bool failed;

/* fail has the third copy to a device fail where the variable CUDADRIVER_LATE_ERROR
 * is set. The lock is held. */
static void fail(const struct operation *o)
{
	static int copies;

	if (o->size && o->to_device && getenv("CUDADRIVER_LATE_ERROR") && ++copies == 3)
		failed = true;
}

static void *perform(void *argument)
{
	CUstream s = argument;
	for (bool last = false; !last;) {
		pthread_mutex_lock(&driver_lock);
		while (!s->first)
			pthread_cond_wait(&s->filled, &driver_lock);
		struct operation *o = s->first;
		if (!(s->first = o->next))
			s->end = &s->first;
		pthread_mutex_unlock(&driver_lock);
		if (o->size) {
			memcpy(o->to, o->from, o->size);
			wrong(o);
		}
		pthread_mutex_lock(&driver_lock);
		fail(o);
		if (o->event && o->event->reached < o->recording)
			o->event->reached = o->recording;
		pthread_cond_broadcast(&progress);
		pthread_mutex_unlock(&driver_lock);
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

static CUresult copy(CUdeviceptr device, void *host, size_t size, bool to_device, CUstream s)
{
	if (!enter())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (s->context != current || !contain(&current->memory, (uintptr_t)device, size) ||
	    !contain(&page_locked, (uintptr_t)host, size))
		return leave(CUDA_ERROR_INVALID_VALUE);
	void *at = (void *)device;
	enqueue(s, (struct operation){
		.to = to_device ? at : host,
		.from = to_device ? host : at,
		.size = size,
		.to_device = to_device,
	});
	return leave(CUDA_SUCCESS);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream s)
{
	return copy(to, (void *)from, size, true, s);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream s)
{
	return copy(from, to, size, false, s);
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

/* enter_with takes the lock where the thread has a living context, and the event
 * lives as well. */
static bool enter_with(CUevent e)
{
	if (!enter())
		return false;
	if (!e->destroyed)
		return true;
	pthread_mutex_unlock(&driver_lock);
	return false;
}

CUresult cuEventDestroy(CUevent e)
{
	if (!enter_with(e))
		return CUDA_ERROR_INVALID_HANDLE;
	e->destroyed = true; /* never freed, so that use after it is seen */
	current->events--;
	return leave(CUDA_SUCCESS);
}

CUresult cuEventRecord(CUevent e, CUstream s)
{
	if (!enter_with(e))
		return CUDA_ERROR_INVALID_HANDLE;
	enqueue(s, (struct operation){.event = e, .recording = ++e->recorded});
	return leave(CUDA_SUCCESS);
}

CUresult cuEventQuery(CUevent e)
{
	if (!enter_with(e))
		return CUDA_ERROR_INVALID_HANDLE;
	if (failed)
		return leave(CUDA_ERROR_ILLEGAL_ADDRESS);
	return leave(e->reached == e->recorded ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY);
}

CUresult cuEventSynchronize(CUevent e)
{
	if (!enter_with(e))
		return CUDA_ERROR_INVALID_HANDLE;
	uint64_t recording = e->recorded;
	while (e->reached < recording)
		pthread_cond_wait(&progress, &driver_lock);
	return leave(failed ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_SUCCESS);
}
