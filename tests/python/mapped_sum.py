"""Map a file and touch every byte of it, as loaders that use mmap do."""
import mmap
import sys

import numpy

with open(sys.argv[1], "rb") as file:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = numpy.frombuffer(data, dtype=numpy.uint8)
        print(int(view.sum(dtype=numpy.uint64)))
        del view
