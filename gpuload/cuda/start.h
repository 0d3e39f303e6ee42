#ifndef WEIGHTFS_START_H
#define WEIGHTFS_START_H

#include <cuda.h>

/* Starts the driver of this process, or says again how that went. */
CUresult weightfs_start_driver(void);

#endif /* WEIGHTFS_START_H */
