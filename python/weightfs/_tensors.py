"""What loaders of a framework have in common: how tensors are made of buffers, and
files whose tensors are taken one by one."""
from __future__ import annotations

import ctypes
import math
from types import TracebackType
from typing import Any, Callable, Generic, Protocol, Sequence, TypeVar

from ._header import BITS, Entry, Header, read_header
from ._leased import LeasedFile
from ._memory import Buffers, copy
from ._spans import GAP, Extent, select, spans
from .errors import about

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Sink(Protocol[T_co]):
    """Where a tensor's bytes go."""

    def write(self, offset: int, address: int, length: int) -> None:
        """Take bytes of the tensor. Once it returns, they have been read."""

    def tensor(self) -> T_co:
        """The tensor, once all of it was written."""


class Target(Protocol[T_co]):
    """Where tensors go: a device. Many threads may write, each to a range of its own."""

    def begin(self, dtype: str, shape: Sequence[int], nbytes: int) -> Sink[T_co]:
        """Make room for a tensor."""


class HostTarget(Generic[T]):
    """The memory of this process."""

    def __init__(self, make: Callable[[Any, str, Sequence[int]], T], keep: int) -> None:
        """make makes a tensor of a ctypes array; keep is how many bytes of buffers are
        kept for further use."""
        self._make = make
        self._buffers = Buffers(keep)

    def begin(self, dtype: str, shape: Sequence[int], nbytes: int) -> Sink[T]:
        return _HostSink(self._buffers.take(nbytes), lambda buffer: self._make(buffer, dtype, shape))


class _HostSink(Generic[T]):
    def __init__(self, buffer: Any, make: Callable[[Any], T]) -> None:
        self._buffer, self._make = buffer, make
        self._address = ctypes.addressof(buffer)

    def write(self, offset: int, address: int, length: int) -> None:
        copy(self._address + offset, address, length)

    def tensor(self) -> T:
        return self._make(self._buffer)


def as_bytes(dtype: str, shape: Sequence[int]) -> list[int]:
    """The shape of a tensor of bytes that stands for one of a dtype which the framework
    lacks: the last dimension counts bytes, or all is one dimension."""
    bits = BITS[dtype]
    if shape and shape[-1] * bits % 8 == 0:
        return [*shape[:-1], shape[-1] * bits // 8]
    return [math.prod(shape) * bits // 8]


def open_header(path: str) -> tuple[LeasedFile, Header]:
    """Open a safetensors file that lies on a mount, see LeasedFile."""
    file = LeasedFile(path)
    try:
        return file, read_header(path, file.size, file.read)
    except BaseException:
        file.close()
        raise


class SafeFile(Generic[T]):
    """A safetensors file whose tensors are taken one by one, with the methods of
    safetensors.safe_open."""

    def __init__(self, path: str, target: Target[T]) -> None:
        self._target = target
        self._file, self._header = open_header(path)
        self._entries = {entry.name: entry for entry in self._header.entries}

    def keys(self) -> list[str]:
        return sorted(self._entries)

    def offset_keys(self) -> list[str]:
        """The names in file order."""
        return list(self._entries)

    def metadata(self) -> dict[str, str] | None:
        return self._header.metadata

    def get_tensor(self, name: str) -> T:
        return self.get_slice(name)[...]

    def get_slice(self, name: str) -> Slice[T]:
        """A tensor of which only what is asked for is leased."""
        if name not in self._entries:
            raise KeyError(f"{self._file.path}: no tensor {name!r}")
        return Slice(self._file, self._entries[name], self._target)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> SafeFile[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Slice(Generic[T]):
    """A tensor, not read yet. Indices are ints, slices without a step, and an ellipsis."""

    def __init__(self, file: LeasedFile, entry: Entry, target: Target[T]) -> None:
        self._file, self._entry, self._target = file, entry, target

    def get_shape(self) -> list[int]:
        return list(self._entry.shape)

    def get_dtype(self) -> str:
        return self._entry.dtype

    def __getitem__(self, index: Any) -> T:
        entry, bits = self._entry, BITS[self._entry.dtype]
        what = f"{self._file.path}: tensor {entry.name!r}"
        try:
            shape, runs, count = select(entry.shape, index)
        except (IndexError, ValueError) as error:
            raise type(error)(f"{what}: {error}") from None
        if math.prod(shape) * bits % 8:
            raise ValueError(f"{what}: a slice of {entry.dtype} that does not end at a byte")
        nbytes = count * bits // 8
        sink = self._target.begin(entry.dtype, shape, math.prod(shape) * bits // 8)
        if not math.prod(shape):
            return sink.tensor()
        if nbytes * 8 != count * bits:
            raise ValueError(f"{what}: a slice of {entry.dtype} whose rows do not begin at bytes")

        def extents() -> Any:
            for number, (first, _) in enumerate(runs):
                if first * bits % 8:
                    raise ValueError(f"{what}: a slice of {entry.dtype} that does not begin at a byte")
                begin = entry.begin + first * bits // 8
                yield Extent(number * nbytes, begin, begin + nbytes)

        def write(base: int, offset: int, address: int, length: int) -> None:
            sink.write(base + offset, address, length)

        try:
            self._file.fetch(spans(extents(), self._file.longest_range, GAP), write)
        except OSError as error:
            raise about(error, f"tensor {entry.name!r}", self._file.path) from None
        return sink.tensor()
