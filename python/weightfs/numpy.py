"""Safetensors files as numpy arrays. Arrays are writable, and own their memory.

What numpy has no dtype for (BF16, F8_E4M3 and the like) comes as ml_dtypes has it
where that is installed, and otherwise as bytes: uint8, with the last dimension
counting bytes.
"""
from __future__ import annotations

import os
from typing import Any, Callable, Iterable, Iterator, Sequence

import numpy

from ._elsewhere import AHEAD, file_names
from ._elsewhere import iterate as _iterate
from ._elsewhere import safe_open as _safe_open
from ._tensors import HostTarget, as_bytes

__all__ = ["iterate", "load_file", "safe_open"]

_Path = str | os.PathLike[str]

_NAMES = {
    "BOOL": "bool",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "F16": "float16", "F32": "float32", "F64": "float64", "C64": "complex64",
}  # fmt: skip

_ML_NAMES = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip


def load_file(path: _Path) -> dict[str, numpy.ndarray]:
    """All tensors of a file."""
    return dict(iterate([path]))


def iterate(
    paths: _Path | Iterable[_Path],
    filter: Callable[[str], bool] | None = None,
    memory_limit: int = AHEAD,
    concurrency: int | None = None,
) -> Iterator[tuple[str, numpy.ndarray]]:
    """The tensors of files, in file order, while later ones are fetched.

    filter says by its name whether a tensor is wanted: others are not fetched.
    memory_limit is how many bytes of tensors are fetched ahead, or one tensor;
    concurrency is how many threads copy (one for two processors, 4 at most). Memory of
    arrays that nobody refers to any more is used again.
    """
    return _iterate(file_names(paths), HostTarget(_array, memory_limit), "np", "cpu", filter, memory_limit, concurrency)


def safe_open(path: _Path) -> Any:
    """A file whose tensors are taken one by one, as by safetensors.safe_open: keys,
    metadata, get_tensor, and get_slice, which leases only what it covers."""
    return _safe_open(os.fspath(path), HostTarget(_array, 0), "np", "cpu")


def _dtype(name: str) -> Any:
    """numpy's dtype; None where there is none."""
    if name in _NAMES:
        return numpy.dtype(_NAMES[name])
    try:
        import ml_dtypes  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return numpy.dtype(getattr(ml_dtypes, _ML_NAMES[name])) if name in _ML_NAMES else None


def _array(buffer: Any, dtype: str, shape: Sequence[int]) -> Any:
    kind = _dtype(dtype)
    if kind is None:
        kind, shape = numpy.dtype("uint8"), as_bytes(dtype, shape)
    if not len(buffer):
        return numpy.empty(shape, kind)
    return numpy.frombuffer(buffer, numpy.uint8).view(kind).reshape(shape)
