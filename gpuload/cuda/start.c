//go:build cuda

/*
 * Starts the driver before Go does. gorgonia.org/cu starts it when its package
 * is initialized, and where that fails prints to standard output, which belongs
 * to what a program has to say, and exits. Here it is said on standard error.
 */
#define _GNU_SOURCE
#include <cuda.h>

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static void __attribute__((constructor)) start(void)
{
	CUresult code = cuInit(0);
	if (code == CUDA_SUCCESS)
		return;
	const char *text = NULL;
	if (cuGetErrorString(code, &text) != CUDA_SUCCESS || !text)
		text = "unknown error";
	fprintf(stderr, "%s: the NVIDIA driver does not start: %s (CUDA error %d)\n",
		program_invocation_short_name, text, (int)code);
	_exit(1);
}
