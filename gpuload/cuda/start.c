//go:build cuda

/*
 * When the driver starts. gorgonia.org/cu starts it as its package is
 * initialized, before it is known whether a GPU is wanted, and exits where that
 * fails. The cuInit here takes the place of the driver's own in a program: cu's
 * call, which is the first, starts nothing, and weightfs_start_driver does.
 */
#define _GNU_SOURCE
#include "start.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>

CUresult weightfs_start_driver(void)
{
	/* The conversion that dlsym(3) has for function pointers. */
	CUresult (*init)(unsigned int);
	*(void **)(&init) = dlsym(RTLD_NEXT, "cuInit");
	return init ? init(0) : CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND;
}

CUresult CUDAAPI cuInit(unsigned int flags)
{
	static atomic_bool called;
	if (!atomic_exchange(&called, true))
		return CUDA_SUCCESS;
	return flags ? CUDA_ERROR_INVALID_VALUE : weightfs_start_driver();
}
