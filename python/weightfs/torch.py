"""Safetensors files as PyTorch tensors.

Tensors own their memory. What PyTorch has no dtype for (F6_E2M3 and F6_E3M2, and of
older versions others) comes as bytes: uint8, with the last dimension counting bytes.
F4 is float4_e2m1fn_x2, whose last dimension counts pairs.
"""
from __future__ import annotations

import os
from typing import Any, Callable, Iterable, Iterator, Sequence

import torch

from ._elsewhere import AHEAD, file_names
from ._elsewhere import iterate as _iterate
from ._elsewhere import safe_open as _safe_open
from ._mapped import MappedTensors
from ._tensors import HostTarget, Target, as_bytes

__all__ = ["iterate", "load_file", "safe_open"]

_Path = str | os.PathLike[str]

_NAMES = {
    "BOOL": "bool",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F4": "float4_e2m1fn_x2",
}  # fmt: skip


def load_file(path: _Path, device: Any = "cpu") -> dict[str, torch.Tensor]:
    """All tensors of a file, on a device."""
    return dict(iterate([path], device))


def iterate(
    paths: _Path | Iterable[_Path],
    device: Any = "cpu",
    filter: Callable[[str], bool] | None = None,
    memory_limit: int = AHEAD,
    concurrency: int | None = None,
    mapped: bool = False,
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of files on a device, in file order, while later ones are fetched.

    filter says by its name whether a tensor is wanted: others are not fetched.
    memory_limit is how many bytes of tensors are fetched ahead, or one tensor;
    concurrency is how many threads copy (one for two processors, 4 at most). On the
    CPU, memory of tensors that nobody refers to any more is used again.

    mapped is for a caller on the CPU who copies each tensor and drops it: tensors from
    1 MiB on may then lie in mountd's memory instead of in a copy. They can be written,
    which nobody else sees, and be kept: what is kept for two seconds, or to the end of
    the iteration, is copied then. Three things differ. Iterate to the end, or close the
    iterator. If mountd cuts this process off while you have such a tensor, the next
    step, or the end, raises ConnectionLost: what you read of it may have been wrong. A
    process that is forked during the iteration must not use them.
    """
    where = torch.device(device)
    views = MappedTensors(_tensor) if mapped and where.type == "cpu" else None
    return _iterate(file_names(paths), _target(device, memory_limit), "pt", str(device), filter, memory_limit, concurrency, views)


def safe_open(path: _Path, device: Any = "cpu") -> Any:
    """A file whose tensors are taken one by one, as by safetensors.safe_open: keys,
    metadata, get_tensor, and get_slice, which leases only what it covers."""
    return _safe_open(os.fspath(path), _target(device, 0), "pt", str(device))


def _target(device: Any, keep: int) -> Target[torch.Tensor]:
    where = torch.device(device)
    if where.type == "cpu":
        return HostTarget(_tensor, keep)
    if where.type == "cuda":
        from ._cuda import CudaTarget

        return CudaTarget(where, as_dtype)
    return HostTarget(lambda buffer, dtype, shape: _tensor(buffer, dtype, shape).to(where), keep)


def _tensor(buffer: Any, dtype: str, shape: Sequence[int]) -> torch.Tensor:
    if not len(buffer):
        return as_dtype(torch.empty([0], dtype=torch.uint8), dtype, shape)
    return as_dtype(torch.frombuffer(buffer, dtype=torch.uint8), dtype, shape)


def as_dtype(data: torch.Tensor, dtype: str, shape: Sequence[int]) -> torch.Tensor:
    """A tensor of bytes as one of a dtype and a shape."""
    kind = getattr(torch, _NAMES.get(dtype, ""), None)
    if kind is None or dtype == "F4":
        shape = as_bytes(dtype, shape)
    return data.view(kind or torch.uint8).view(list(shape))
