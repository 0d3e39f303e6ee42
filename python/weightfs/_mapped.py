"""Tensors that lie in mountd's memory: not copied, but mapped, as long as whoever took
them copies them himself soon.

A lease that is mapped is given back when all tensors over it have gone. Of a tensor that
is kept for longer than _PATIENCE, or beyond the end of the iteration, the pages are
copied in place, so that its lease can be given back all the same, and so it is where
the consumer waits for what the lease may keep from coming. In each case a GIVE that was
sent proves the bytes. Where mountd has died, or was replaced, its memory stays as it was,
which proves them too. Where this process was cut off, a tensor that nobody has seen is read from the mount. For
one that was handed out that is too late: whatever its consumer made of it may be wrong,
so that is an error.
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

# Of the cap, half is left to what is wanted ahead. One tensor takes an eighth at most, so
# that it is leased whole beside the one before, with up to four ranks.
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
        self._placing = threading.Lock()
        self._placed = False  # guarded by _placing: the window stays where it is
        self.leases: set[Lease] = set()
        self.since = 0.0  # when it got the oldest of these
        self.leases_booked = leases
        self.handed_out = False
        self.lost: ConnectionLost | None = None  # its bytes are not proven, and nobody has seen them

    def _address(self, offset: int, like: int | None = None) -> int:
        """Of a byte. The first that is used decides how the window lies: like that byte of
        mountd's memory."""
        with self._placing:
            if not self._placed and like is not None:
                self.window.align(self.before + offset, like)
            self._placed = True
        return self.window.address + self.before + offset

    def write(self, offset: int, address: int, length: int) -> None:
        copy(self._address(offset), address, length)

    def map(self, offset: int, address: int, length: int, lease: Lease) -> None:
        """Take bytes that are leased, as write does, but keep the lease."""
        memory = self.connection.memory
        source = address - memory.address
        at = self._address(offset, source)
        whole = (not offset or not at % mmap.PAGESIZE) and (offset + length == self.entry.end - self.entry.begin or not (at + length) % mmap.PAGESIZE)
        if not 0 <= source < memory.size or not whole or not self.window.show(at, memory, source, length):
            self.write(offset, address, length)
            return
        self._owner.use(self, lease)

    def about(self, error: OSError) -> OSError:
        """An error, with the tensor and its range."""
        return about(error, f"tensor {self.entry.name!r} [{self.entry.begin},{self.entry.end})", self._file.path)

    def array(self) -> Any:
        """The bytes, as a ctypes array that does not keep them."""
        return (ctypes.c_char * (self.entry.end - self.entry.begin)).from_address(self.window.address + self.before)

    def restore(self) -> None:
        """Read bytes that are not proven from the mount. Raises OSError, ConnectionLost
        where the mount has ended too."""
        if self.lost is not None:
            try:
                self._file.reread(self.array(), self.entry.begin, self.lost)
            except OSError as error:
                raise self.about(error) from None
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
        self._leases = 0
        self._error: OSError | None = None  # of a tensor that was handed out
        self._connections: set[Connection] = set()
        self._aging: threading.Thread | None = None

    def begin(self, file: LeasedFile, entry: Entry) -> MappedTensor[T] | None:
        """Make room for a tensor, which must not be mapped where the answer is None."""
        nbytes, cap, free = entry.end - entry.begin, file.connection.welcome.cap, file.connection.free()
        longest = file.longest_range  # a tensor keeps the whole of a lease that it shares with others
        leases = (entry.end - 1) // longest - entry.begin // longest + 1
        aligned = not entry.begin % max(1, BITS[entry.dtype] // 8)
        with self._changed:
            if not self._can_own or not aligned or nbytes < _SMALLEST or leases * longest > cap // _SHARE_OF_ONE or file.connection.ended is not None:
                return None
            if self._leases + leases > min(_MOST_LEASES, cap // _SHARE // longest) or free < 4 * WINDOW + leases:
                return None
            try:
                tensor = MappedTensor(self, file, entry, leases)
            except OSError:  # no addresses are left
                return None
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
        """The tensor, which keeps its memory. Raises OSError where it was lost and cannot
        be read from the mount."""
        with self._changed:
            self._give_if_lost(tensor)
            tensor.handed_out = tensor.lost is None
        tensor.restore()
        tensor.handed_out = True
        array = tensor.array()
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
        that was handed out may have been wrong."""
        with self._changed:
            self._reap()
            for tensor in self._tensors:
                self._give_if_lost(tensor)
            error, self._error = self._error, None
        if error is not None:
            raise error

    def _reap(self) -> None:
        for tensor in self._take_dropped():
            self._give(tensor)
            self._tensors.discard(tensor)
            self._leases -= tensor.leases_booked
            tensor.window.unmap()

    def _give_if_lost(self, tensor: MappedTensor[T]) -> None:
        if tensor.leases and tensor.connection.ended is not None and not tensor.connection.intact():
            self._give(tensor)

    def _give(self, tensor: MappedTensor[T]) -> None:
        """Give back the leases of a tensor."""
        leases, tensor.leases = tensor.leases, set()
        for lease in leases:
            try:
                self.release(lease, tensor)
            except ConnectionLost as error:
                if tensor.handed_out:
                    self._error = self._error or tensor.about(error)
                else:
                    tensor.lost = error

    def _own(self, tensor: MappedTensor[T]) -> None:
        """Copy a tensor in place, and give its leases back."""
        if tensor.leases:
            tensor.window.own()
            self._give(tensor)

    def own_all(self, older: float = 0.0) -> None:
        """Copy in place what has been mapped for so many seconds, and give its leases
        back."""
        with self._changed:
            self._reap()
            for tensor in self._tensors:
                if time.monotonic() - tensor.since >= older:
                    try:
                        self._own(tensor)
                    except OSError:
                        pass  # memory is short: it stays as it is for now

    def _age(self) -> None:
        """Let no lease be kept for long, until the end."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._closed, _PATIENCE / 4):
                self.own_all(_PATIENCE)

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
