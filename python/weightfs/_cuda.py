"""Tensors on an NVIDIA GPU, by PyTorch: leases are copied to a ring of page-locked
memory, and from there by the GPU, while the next ones are copied."""
from __future__ import annotations

import queue
from typing import Callable, Sequence

import torch

from ._memory import copy

# Page-locked memory, while bytes are on their way to the GPU.
_SLOT = 4 << 20
_SLOTS = 8


class CudaTarget:
    """The memory of a GPU."""

    def __init__(self, device: torch.device, as_dtype: Callable[[torch.Tensor, str, Sequence[int]], torch.Tensor]) -> None:
        """as_dtype makes a tensor of one of bytes."""
        self.device, self.as_dtype = device, as_dtype
        with torch.cuda.device(device):
            self.stream = torch.cuda.Stream(device)
            self._ring = torch.empty(_SLOT * _SLOTS, dtype=torch.uint8, pin_memory=True)
            self._read = [torch.cuda.Event() for _ in range(_SLOTS)]  # each slot, by the GPU
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()  # slots that no thread fills, the oldest first
        for slot in range(_SLOTS):
            self._free.put(slot)

    def begin(self, dtype: str, shape: Sequence[int], nbytes: int) -> _CudaSink:
        return _CudaSink(self, dtype, shape, nbytes)

    def copy(self, to: torch.Tensor, address: int, length: int) -> None:
        """Copy what lies at an address. Once it returns, that was read."""
        with torch.cuda.stream(self.stream):
            for done in range(0, length, _SLOT):
                n = min(_SLOT, length - done)
                slot = self._free.get()
                try:
                    self._read[slot].synchronize()
                    staging = self._ring[slot * _SLOT : slot * _SLOT + n]
                    copy(staging.data_ptr(), address + done, n)
                    to[done : done + n].copy_(staging, non_blocking=True)
                    self._read[slot].record(self.stream)
                finally:
                    self._free.put(slot)


class _CudaSink:
    def __init__(self, target: CudaTarget, dtype: str, shape: Sequence[int], nbytes: int) -> None:
        self._target, self._dtype, self._shape = target, dtype, shape
        with torch.cuda.stream(target.stream):
            self._data = torch.empty(nbytes, dtype=torch.uint8, device=target.device)
        self._written = torch.cuda.Event()

    def write(self, offset: int, address: int, length: int) -> None:
        self._target.copy(self._data[offset : offset + length], address, length)
        self._written.record(self._target.stream)

    def tensor(self) -> torch.Tensor:
        """What the caller's stream does with it comes after the copies, and its memory
        is used again only after that."""
        stream = torch.cuda.current_stream(self._target.device)
        stream.wait_event(self._written)
        self._data.record_stream(stream)
        return self._target.as_dtype(self._data, self._dtype, self._shape)
