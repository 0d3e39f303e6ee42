"""Files with ranges to look at: what leased ones and ordinary ones have in common, and
the ordinary ones."""
from __future__ import annotations

import abc
import os
import weakref
from types import TracebackType
from typing import Any, Iterable

from .errors import ConnectionLost


class View:
    """Bytes of a file, read-only. Release it, or use it in a with statement: without
    an error they were right.

    pieces are the bytes, in order. Those of a leased file lie in mountd's own memory;
    there are several where its blocks do not lie side by side.
    """

    def __init__(self, pieces: Iterable[memoryview]) -> None:
        self.pieces = tuple(pieces)
        self._length = sum(piece.nbytes for piece in self.pieces)

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)

    def memory(self) -> memoryview:
        """The bytes in one piece, copied if there are several."""
        return self.pieces[0] if len(self.pieces) == 1 else memoryview(bytes(self))

    def release(self) -> None:
        """Give the bytes back. Raises BufferError where something still refers to them,
        such as an array that was made of them, and ConnectionLost where they may have
        been wrong."""
        for piece in self.pieces:
            piece.release()
        self.pieces = ()

    def __enter__(self) -> View:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.release()
        except (BufferError, ConnectionLost):
            if error is None:  # of an error, the trace may refer to the bytes
                raise


class File(abc.ABC):
    """An open file. Its methods may be called by many threads."""

    path: str
    size: int

    @property
    @abc.abstractmethod
    def leased(self) -> bool:
        """Whether the bytes are leased from mountd, rather than read."""

    @property
    @abc.abstractmethod
    def longest_view(self) -> int:
        """The longest range that a view leases; 0 of a file that is read."""

    @abc.abstractmethod
    def view(self, offset: int = 0, length: int | None = None) -> View:
        """A range, by default to the end. One that is longer than longest_view is copied.

        Keep a lease for a short time: all processes together hold a quarter of mountd's
        memory at most. Who keeps some and wants more may get a LeaseLimit."""

    @abc.abstractmethod
    def readinto(self, buffer: Any, offset: int = 0) -> int:
        """Copy what is at offset into a buffer. Returns how many bytes there were,
        which is less than the buffer's length at the end of the file alone."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the file, and release its views."""

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Copy a range, by default to the end."""
        offset, length = self._range(offset, length)
        buffer = bytearray(length)
        self.readinto(buffer, offset)
        return bytes(buffer)

    def _range(self, offset: int, length: int | None) -> tuple[int, int]:
        """A range inside of the file."""
        if offset < 0 or length is not None and length < 0:
            raise ValueError(f"{self.path}: a range [{offset},+{length})")
        left = max(0, self.size - offset)
        return min(offset, self.size), left if length is None else min(length, left)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: slice) -> View:
        """file[a:b] is a view of the range."""
        first, stop, step = index.indices(self.size)
        if step != 1:
            raise ValueError(f"{self.path}: a slice with a step of {step}")
        return self.view(first, max(0, stop - first))

    def __enter__(self) -> File:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except BufferError:
            if error is None:
                raise


class PlainFile(File):
    """A file that is read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._closer = weakref.finalize(self, os.close, self._fd)
        status = os.fstat(self._fd)
        self.size, self.inode = status.st_size, status.st_ino

    @property
    def leased(self) -> bool:
        return False

    @property
    def longest_view(self) -> int:
        return 0

    def view(self, offset: int = 0, length: int | None = None) -> View:
        return View([memoryview(self.read(offset, length))])

    def readinto(self, buffer: Any, offset: int = 0) -> int:
        target, done = memoryview(buffer).cast("B"), 0
        while done < target.nbytes:
            n = os.preadv(self._fd, [target[done:]], offset + done)
            if not n:
                break
            done += n
        return done

    def close(self) -> None:
        self._closer()
