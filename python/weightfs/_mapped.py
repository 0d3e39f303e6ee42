"""Tensors that lie in mountd's memory: not copied, but mapped, as long as whoever took
them copies them himself soon.

A lease that is mapped is given back when all tensors over it have gone. Of a tensor that
is kept for longer than _PATIENCE, or beyond the end of the iteration, the pages are
copied in place, so that its lease can be given back all the same. In either case a GIVE
that was sent proves the bytes. Where it cannot be sent, the pages are copied in place,
and compared with what the mount has: mountd would have had to use the memory twice in
between, the second time for the same bytes, for a wrong tensor to be taken for right.
"""
from __future__ import annotations

import ctypes
import mmap
import threading
import time
import weakref
from collections import deque
from typing import Any, Callable, Generic, Sequence, TypeVar

from ._connection import Connection, Want, connections
from ._header import BITS, Entry
from ._leased import WINDOW, LeasedFile
from ._memory import Window, copy, windows_can_own
from .errors import ConnectionLost, about

T = TypeVar("T")

# Smaller tensors are copied: to map one costs as much.
_SMALLEST = 1 << 20

# Of the cap, half is left to what is wanted ahead. One tensor takes so little that it is
# leased whole beside several ranks.
_SHARE, _SHARE_OF_ONE = 2, 8

# How many leases are mapped at most: others of the process find some left of 256.
_MOST_LEASES = 64

# How long a lease is mapped, in seconds. mountd cuts off who keeps more than its share
# for 10 s while others wait.
_PATIENCE = 2.0


class Lease:
    """A lease and who uses it: whoever took it, for which it stands itself, and tensors."""

    def __init__(self, want: Want) -> None:
        self.want = want
        self.users: set[Any] = {self}  # guarded by the lock of MappedTensors


class MappedTensor(Generic[T]):
    """The memory of one tensor: a Sink, parts of which may be mapped. Its fields but
    window are guarded by the lock of MappedTensors."""

    def __init__(self, owner: MappedTensors[T], file: LeasedFile, entry: Entry, leases: int) -> None:
        nbytes = entry.end - entry.begin
        self._owner, self._file, self.entry = owner, file, entry
        self.connection = file.connection
        self.before = entry.begin % mmap.PAGESIZE  # the parts of a page lie in it as in the file
        self.window = Window(self.before + nbytes)
        self.leases: set[Lease] = set()
        self.since = 0.0  # when it got the oldest of these
        self.booked = nbytes, leases
        self.handed_out = False
        self.lost: ConnectionLost | None = None  # its bytes are not proven
        self.comparable = True

    def write(self, offset: int, address: int, length: int) -> None:
        copy(self.window.address + self.before + offset, address, length)

    def map(self, offset: int, address: int, length: int, lease: Lease) -> None:
        """Take bytes that are leased, as write does, but keep the lease."""
        at, memory = self.window.address + self.before + offset, self.connection.memory
        inner = memory.address <= address < memory.address + memory.size
        whole = (not offset or not at % mmap.PAGESIZE) and (offset + length == self.entry.end - self.entry.begin or not (at + length) % mmap.PAGESIZE)
        if not inner or not whole or not self.window.show(at, memory, address - memory.address, length):
            self.write(offset, address, length)
            return
        self._owner.use(self, lease)

    def verify(self) -> None:
        """If the bytes are not proven, compare them with what the mount has. Raises
        ConnectionLost where they are wrong, or it has ended too."""
        if self.lost is None:
            return
        begin, end = self.entry.begin, self.entry.end
        try:
            right = self.comparable and self._file.compare(begin, self.window.address + self.before, end - begin)
        except OSError:
            right = False
        if not right:
            raise about(self.lost, f"tensor {self.entry.name!r} [{begin},{end})", self._file.path) from None
        self.lost = None

    def tensor(self) -> T:
        return self._owner.hand_out(self)


class MappedTensors(Generic[T]):
    """The mapped tensors of one iteration. All methods may be called by many threads."""

    def __init__(self, make: Callable[[Any, str, Sequence[int]], T]) -> None:
        """make makes a tensor of a ctypes array."""
        self._make = make
        self._can_own = windows_can_own()
        self._dropped: deque[MappedTensor[T]] = deque()  # nothing refers to these any more
        self._closed = False
        self._changed = threading.Condition()
        # Guarded by _changed:
        self._tensors: set[MappedTensor[T]] = set()  # mapped, or being made
        self._bytes = 0
        self._leases = 0
        self._unproven: list[MappedTensor[T]] = []  # dropped, but not unmapped
        self._connections: set[Connection] = set()
        self._aging: threading.Thread | None = None

    def begin(self, file: LeasedFile, entry: Entry) -> MappedTensor[T] | None:
        """Make room for a tensor, which must not be mapped where the answer is None."""
        nbytes, cap, free = entry.end - entry.begin, file.connection.welcome.cap, file.connection.free()
        leases = nbytes // file.longest_range + 2
        aligned = not entry.begin % max(1, BITS[entry.dtype] // 8)
        with self._changed:
            if not self._can_own or not aligned or not _SMALLEST <= nbytes <= cap // _SHARE_OF_ONE or file.connection.ended is not None:
                return None
            if self._bytes + nbytes > cap // _SHARE or self._leases + leases > _MOST_LEASES or free < 4 * WINDOW + leases:
                return None
            try:
                tensor = MappedTensor(self, file, entry, leases)
            except OSError:  # no addresses are left
                return None
            self._bytes += nbytes
            self._leases += leases
            self._tensors.add(tensor)
            if file.connection not in self._connections:
                connections.retain(file.connection)
                self._connections.add(file.connection)
            if self._aging is None:
                self._aging = threading.Thread(target=self._age, name="weightfs mapped", daemon=True)
                self._aging.start()
            return tensor

    def use(self, tensor: MappedTensor[T], lease: Lease) -> None:
        """Keep a lease for a tensor."""
        with self._changed:
            if not tensor.leases:
                tensor.since = time.monotonic()
            tensor.leases.add(lease)
            lease.users.add(tensor)

    def release(self, lease: Lease, user: Any) -> None:
        """End a use of a lease. Raises ConnectionLost where the bytes may have been wrong."""
        if self._end_use(lease, user):
            lease.want.give()
        else:  # it is used by others still
            lease.want.connection.check()

    def drop(self, lease: Lease) -> None:
        """Whoever took a lease, if it has come, has failed, or has released it."""
        if self._end_use(lease, lease):
            lease.want.drop()

    def _end_use(self, lease: Lease, user: Any) -> bool:
        """Whether it was the last."""
        with self._changed:
            if user not in lease.users:
                return False
            lease.users.remove(user)
            return not lease.users

    def hand_out(self, tensor: MappedTensor[T]) -> T:
        """The tensor, which keeps its memory. Raises ConnectionLost where it is wrong."""
        with self._changed:
            self._give_if_lost(tensor)
        tensor.verify()
        tensor.handed_out = True
        array = (ctypes.c_char * (tensor.entry.end - tensor.entry.begin)).from_address(tensor.window.address + tensor.before)
        weakref.finalize(array, self._drop, tensor).atexit = False
        return self._make(array, tensor.entry.dtype, tensor.entry.shape)

    def _drop(self, tensor: MappedTensor[T]) -> None:
        """Nothing refers to a tensor any more. It may be called at any place, so it takes
        no lock."""
        self._dropped.append(tensor)
        if self._closed:
            for tensor in self._take_dropped():
                tensor.window.unmap()

    def _take_dropped(self) -> list[MappedTensor[T]]:
        """What nothing refers to. It takes no lock."""
        dropped = []
        try:
            while True:
                dropped.append(self._dropped.popleft())
        except IndexError:
            return dropped

    def check(self) -> None:
        """Give back the leases of tensors that have gone. Raises ConnectionLost where one
        of them, or one that was handed out, was wrong."""
        with self._changed:
            self._reap()
            for tensor in self._tensors:
                self._give_if_lost(tensor)
            dropped, self._unproven = self._unproven, []
            kept = [tensor for tensor in self._tensors if tensor.handed_out]
        try:
            for tensor in dropped + kept:
                tensor.verify()
        finally:
            for tensor in dropped:
                tensor.window.unmap()

    def _reap(self) -> None:
        for tensor in self._take_dropped():
            self._give(tensor)
            self._forget(tensor)
            if tensor.lost is not None and tensor.handed_out:
                self._unproven.append(tensor)
            else:
                tensor.window.unmap()

    def _give_if_lost(self, tensor: MappedTensor[T]) -> None:
        if tensor.leases and tensor.connection.ended is not None:
            self._give(tensor)

    def _forget(self, tensor: MappedTensor[T]) -> None:
        self._tensors.discard(tensor)
        nbytes, leases = tensor.booked
        tensor.booked = 0, 0
        self._bytes -= nbytes
        self._leases -= leases

    def _give(self, tensor: MappedTensor[T]) -> None:
        """Give back the leases of a tensor."""
        leases, tensor.leases = tensor.leases, set()
        for lease in leases:
            try:
                self.release(lease, tensor)
            except ConnectionLost as error:
                tensor.lost = error
        if leases and tensor.lost is not None:
            try:
                tensor.window.own()  # before anybody reads the mount for the comparison
            except OSError:
                tensor.comparable = False

    def _own(self, tensor: MappedTensor[T]) -> None:
        """Copy a tensor in place, and give its leases back."""
        if tensor.leases:
            tensor.window.own()
            self._give(tensor)

    def _age(self) -> None:
        """Let no lease be kept for long, until the end."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._closed, _PATIENCE / 4):
                self._reap()
                for tensor in list(self._tensors):
                    if time.monotonic() - tensor.since > _PATIENCE:
                        try:
                            self._own(tensor)
                        except OSError:
                            pass  # memory is short: it stays as it is for now

    def close(self) -> None:
        """End the iteration: what is kept owns its memory from now on, and what was not
        handed out is gone. Nothing else runs any more. Raises as check does, and OSError
        where memory is short."""
        try:
            with self._changed:
                self._dropped.extend(tensor for tensor in self._tensors if not tensor.handed_out)
                self._reap()
                for tensor in self._tensors:
                    self._own(tensor)
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
                self._reap()
            if self._aging is not None:
                self._aging.join()
            for connection in self._connections:
                connections.release(connection)
            self.check()
