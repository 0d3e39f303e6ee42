"""Read a safetensors file as the ranks of tensor parallelism do: of every
matrix each rank takes its rows or its columns, all others are read whole.
"""
import hashlib
import sys

from safetensors import safe_open

RANKS = 4


def parts(shape):
    """Each rank's share: of the rows, then of the columns."""
    for axis in (0, 1):
        step = -(-shape[axis] // RANKS)
        for start in range(0, shape[axis], step):
            share = slice(start, min(start + step, shape[axis]))
            yield (share,) if axis == 0 else (slice(None), share)


with safe_open(sys.argv[1], framework="np") as file:
    print(file.metadata())
    for name in sorted(file.keys()):
        part = file.get_slice(name)
        shape = part.get_shape()
        shares = [part[index] for index in parts(shape)] if len(shape) == 2 else [file.get_tensor(name)]
        print(name, part.get_dtype(), shape, *(hashlib.sha256(share.tobytes()).hexdigest() for share in shares))
