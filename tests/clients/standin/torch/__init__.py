"""As much of torch as runai_model_streamer and our own package need to hand out
what they have read.

PyTorch is 3 GB, and they use nothing of it but the type of its
tensors: an address, a dtype and a shape. Here these are views of numpy arrays
of bytes. What reads the files is the streamer's own library, or our package, unchanged.
"""
import importlib.util  # noqa: F401: the streamer takes it for imported, as torch does it
import math

import numpy

from . import cuda, distributed

__all__ = ["Tensor", "cuda", "device", "distributed", "empty", "from_numpy", "frombuffer", "tensor"]


class dtype:
    """A name and a size. Elements are never looked at."""

    def __init__(self, name, itemsize):
        self.name, self.itemsize = name, itemsize


bool = dtype("bool", 1)
uint8, int8 = dtype("uint8", 1), dtype("int8", 1)
float8_e4m3fn, float8_e5m2 = dtype("float8_e4m3fn", 1), dtype("float8_e5m2", 1)
uint16, int16 = dtype("uint16", 2), dtype("int16", 2)
float16, bfloat16 = dtype("float16", 2), dtype("bfloat16", 2)
uint32, int32, float32 = dtype("uint32", 4), dtype("int32", 4), dtype("float32", 4)
uint64, int64, float64 = dtype("uint64", 8), dtype("int64", 8), dtype("float64", 8)
complex64 = dtype("complex64", 8)


class device:
    """The host, which is all there is."""

    def __init__(self, name):
        if str(name) != "cpu":
            raise RuntimeError(f"no device {name}")
        self.type = "cpu"

    def __str__(self):
        return "cpu"


class Tensor:
    """A view of bytes."""

    def __init__(self, data, kind, shape):
        if math.prod(shape) * kind.itemsize != data.nbytes:
            raise RuntimeError(f"shape {shape} of {kind.name} is not {data.nbytes} bytes")
        self.data, self.dtype, self.shape = data, kind, tuple(shape)

    def view(self, *args):
        """The same bytes with another dtype, or with another shape."""
        if len(args) == 1 and isinstance(args[0], dtype):
            return Tensor(self.data, args[0], [self.data.nbytes // args[0].itemsize])
        shape = list(args[0] if len(args) == 1 else args)
        if -1 in shape:
            known = math.prod(n for n in shape if n != -1) * self.dtype.itemsize
            shape[shape.index(-1)] = self.data.nbytes // known
        return Tensor(self.data, self.dtype, shape)

    def clone(self):
        return Tensor(self.data.copy(), self.dtype, self.shape)

    def data_ptr(self):
        return self.data.ctypes.data

    def nelement(self):
        return math.prod(self.shape)

    def numpy(self):
        """The bytes, whatever the dtype."""
        return self.data


def from_numpy(array):
    data = array.reshape(-1).view(numpy.uint8)
    return Tensor(data, uint8, [data.nbytes])


def frombuffer(buffer, dtype):
    data = numpy.frombuffer(buffer, numpy.uint8)
    return Tensor(data, dtype, [data.nbytes // dtype.itemsize])


def empty(shape, dtype=float32):
    return Tensor(numpy.empty(math.prod(shape) * dtype.itemsize, numpy.uint8), dtype, shape)


def tensor(values, dtype=float32):
    if values:
        raise NotImplementedError("a tensor with elements")
    return empty([0], dtype)
