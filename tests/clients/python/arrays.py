"""Read an array by every way that numpy has: copied, mapped, in pieces."""
import hashlib
import sys

import numpy

path = sys.argv[1]


def show(how, array):
    print(how, array.dtype, array.shape, hashlib.sha256(numpy.ascontiguousarray(array)).hexdigest())


show("load", numpy.load(path))
mapped = numpy.load(path, mmap_mode="r")
show("mapped backwards", mapped[::-1])
show("mapped columns", mapped[:, ::7])
show("fromfile", numpy.fromfile(path, numpy.uint8))
with open(path, "rb", buffering=0) as file:  # an odd piece from the middle
    file.seek(4097)
    show("from the middle", numpy.fromfile(file, numpy.uint8, count=6_000_001))
