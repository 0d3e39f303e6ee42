"""A connection to a mount's daemon, with its memory mapped: leases of ranges."""
from __future__ import annotations

import array
import errno
import itertools
import os
import select
import socket
import threading
from collections import deque
from typing import Callable, Sequence

from . import _wire
from ._find import NOT_SHARED, NoHandoff, Place
from ._memory import Mapping
from .errors import ConnectionLost, LeaseLimit, lost, os_error

# How long a lease is waited for while this process keeps others, which may be what
# it waits for. mountd fails a read after the same time.
_PATIENCE = 300.0


class Stopped(Exception):
    """The caller of a wait does not want it any more."""


class Want:
    """A range that was asked for: wanted, then leased, then given back."""

    def __init__(self, connection: Connection, tag: int, file: RemoteFile, offset: int, length: int) -> None:
        self.connection = connection
        self.tag = tag
        self.file = file
        self.offset = offset
        self.length = length
        # Guarded by the connection's lock:
        self.pieces: tuple[tuple[int, int], ...] | None = None
        self.error: OSError | None = None
        self.dropped = False

    def wait(self, stopped: Callable[[], bool] = lambda: False) -> list[tuple[int, int]]:
        """Address and length of each piece of the range, once it is leased. Raises the
        OSError that read(2) would, ConnectionLost, or Stopped, which is looked for
        when the connection's condition is notified."""
        connection = self.connection
        with connection.changed:
            done = connection.changed.wait_for(
                lambda: self.pieces is not None or self.error is not None or stopped(),
                _PATIENCE if connection.kept else None,
            )
            if self.error is not None:
                raise self.error
            if self.pieces is not None:
                return [(connection.memory.address + offset, length) for offset, length in self.pieces]
            if done:
                raise Stopped
            raise LeaseLimit(errno.ENOBUFS, f"no lease in {_PATIENCE:.0f} s while {connection.kept} bytes are kept leased")

    def give(self) -> None:
        """Give the lease back. Without an error all that was read of it before was
        right. Raises ConnectionLost."""
        self.connection.give(self)

    def drop(self) -> None:
        """Give the range back, leased or not, if that has not happened."""
        self.connection.drop(self)


class RemoteFile:
    """An open version of an object."""

    def __init__(self, connection: Connection, path: str, opened: _wire.Opened) -> None:
        self.connection = connection
        self.path = path
        self.number = opened.file
        self.size = opened.size
        self.inode = opened.inode
        self.version = opened.text
        self.by_kernel = opened.by_kernel

    def want(self, ranges: Sequence[tuple[int, int]], booked: int = 0) -> list[Want]:
        """Ask for ranges (offset, length), in the order in which they are used. It
        waits while too many are wanted. booked is what keep was told of them."""
        for offset, length in ranges:
            if offset < 0 or not 0 < length <= self.connection.welcome.max_length or offset + length > self.size:
                raise ValueError(f"a range [{offset},+{length}) of {self.size} bytes")
        return self.connection.want(self, ranges, booked)

    def close(self) -> None:
        """Close the file. What is wanted or leased of it stays so."""
        try:
            self.connection.send(_wire.message(_wire.CLOSE, self.number))
        except ConnectionLost:
            pass  # that closed it


class Connection:
    """A connection to the daemon. All methods may be called by many threads."""

    def __init__(self, path: str) -> None:
        """Connect to the socket of a mount, and map its memory. Raises OSError, also
        where the daemon refuses."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.connect(path)
            self.welcome, self.memory, self._reused = self._greet()
        except BaseException:
            self._socket.close()
            raise
        self._process = os.getpid()
        self.changed = threading.Condition()
        # Guarded by changed, as are all below:
        self.kept = 0  # bytes of blocks that callers keep leased as long as they like
        self.ended: str | None = None  # why
        self._tags = itertools.count(1)
        self._opens: dict[int, _wire.Opened | None] = {}  # by tag; None: not answered
        self._wants: dict[int, Want] = {}  # by tag: wanted or leased
        self._receiver = threading.Thread(target=self._receive, name="weightfs hand-off", daemon=True)
        self._receiver.start()

    def _greet(self) -> tuple[_wire.Welcome, Mapping, int | None]:
        """Exchange HELLO and WELCOME. The last is the descriptor that can be read from
        before the memory of this connection is used again, if the daemon has that."""
        try:
            self._socket.send(_wire.hello(), socket.MSG_NOSIGNAL)
        except BrokenPipeError:
            pass  # who is refused is answered without being asked
        data, fds = _receive_descriptors(self._socket)
        try:
            if not data:
                raise lost("it did not answer")
            kind, _, body = _wire.split(data)
            if kind != _wire.WELCOME:
                raise _wire.ProtocolError(f"type {kind} for a WELCOME")
            welcome = _wire.parse_welcome(body)
            if welcome.errno:
                raise OSError(welcome.errno, os.strerror(welcome.errno))
            if len(fds) != (2 if welcome.features & _wire.REUSE else 1) or welcome.version != _wire.VERSION or not welcome.max_length or not welcome.max_wants:
                raise _wire.ProtocolError(f"{len(fds)} descriptors with {welcome}")
            if not 0 < welcome.size <= os.fstat(fds[0]).st_size:
                raise _wire.ProtocolError(f"{welcome.size} bytes of memory in a smaller file")
            memory = Mapping(fds[0], welcome.size)
            return welcome, memory, fds.pop() if len(fds) > 1 else None
        finally:
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        """End the connection. Its leases end with it."""
        self._end("it was closed")
        self._close_reused()
        if self._process == os.getpid() and threading.current_thread() is not self._receiver:
            self._receiver.join()
            self._socket.close()

    def forget(self) -> None:
        """In a child process, in which nothing receives: close the descriptor of the
        connection, which stays its parent's."""
        self.changed = threading.Condition()
        self._end("it is of the process that this one was forked from")
        self._close_reused()
        self._socket.close()

    def _close_reused(self) -> None:
        with self.changed:
            reused, self._reused = self._reused, None
        if reused is not None:
            os.close(reused)

    def _end(self, why: str) -> None:
        if self._process == os.getpid():
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended
        with self.changed:
            if self.ended is None:
                self.ended = why
            for want in self._wants.values():
                if want.pieces is None:
                    want.error = lost(self.ended)
            self._wants = {}
            self.changed.notify_all()

    def intact(self) -> bool:
        """Whether all that was read of leases until now was right, though the connection
        has ended: then mountd died, or was replaced, and what it leased stays as it is."""
        with self.changed:
            if self._reused is None:
                return False
            poll = select.poll()
            poll.register(self._reused, select.POLLIN)
            return not poll.poll(0)

    def send(self, data: bytes) -> None:
        """Send a message. Without an error no lease had been taken away before."""
        try:
            self._socket.send(data, socket.MSG_NOSIGNAL)
        except OSError as error:
            raise lost(self.ended or str(error)) from None

    def check(self) -> None:
        """Raises ConnectionLost where give would."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        if (self.ended is not None or poll.poll(0)) and not self.intact():
            raise lost(self.ended or "mountd closed it")

    def open(self, path: str) -> RemoteFile:
        """Open an object by its path within the mount. Raises the OSError that open(2)
        of it would, or ConnectionLost."""
        with self.changed:
            tag = next(self._tags)
            self._opens[tag] = None
        self.send(_wire.message(_wire.OPEN, tag, os.fsencode(path)))
        with self.changed:
            self.changed.wait_for(lambda: self._opens[tag] is not None or self.ended is not None)
            opened = self._opens.pop(tag)
            if opened is None:
                raise lost(str(self.ended))
        if opened.errno:
            raise os_error(opened.errno, opened.text, path)
        return RemoteFile(self, path, opened)

    def span(self, offset: int, length: int) -> int:
        """The bytes of all blocks that a range touches: a lease of it counts for these."""
        block = self.welcome.block_size
        return ((offset + length - 1) // block - offset // block + 1) * block

    def free(self) -> int:
        """How many ranges more may be wanted now."""
        with self.changed:
            return self.welcome.max_wants - len(self._wants)

    def keep(self, amount: int) -> None:
        """Book the blocks of a lease that is kept as long as a caller likes, or, less
        than 0, of one that is given back."""
        with self.changed:
            if amount > 0 and self.kept + amount > self.welcome.cap:
                raise LeaseLimit(errno.ENOBUFS, f"{self.kept} bytes are kept leased, of {self.welcome.cap} for all processes")
            self.kept += amount

    def want(self, file: RemoteFile, ranges: Sequence[tuple[int, int]], booked: int) -> list[Want]:
        """See RemoteFile.want."""
        largest = max(self.span(offset, length) for offset, length in ranges)
        with self.changed:
            kept = self.kept - booked
            if kept and kept + largest > self.welcome.cap:
                raise LeaseLimit(errno.ENOBUFS, f"{kept} bytes are kept leased, of {self.welcome.cap} for all processes")
            self.changed.wait_for(lambda: self.ended is not None or len(self._wants) + len(ranges) <= self.welcome.max_wants)
            if self.ended is not None:
                raise lost(self.ended)
            made = [Want(self, next(self._tags), file, offset, length) for offset, length in ranges]
            self._wants.update((want.tag, want) for want in made)
        for first in range(0, len(made), _wire.MAX_WANTS_IN_MESSAGE):
            batch = made[first : first + _wire.MAX_WANTS_IN_MESSAGE]
            self.send(_wire.wants([(want.tag, file.number, want.offset, want.length) for want in batch]))
        return made

    def give(self, want: Want) -> None:
        """See Want.give."""
        try:
            self.send(_wire.tags(_wire.GIVE, [want.tag]))
        except ConnectionLost:
            if not self.intact():
                raise
        with self.changed:
            self._wants.pop(want.tag, None)
            self.changed.notify_all()

    def drop(self, want: Want) -> None:
        """See Want.drop."""
        with self.changed:
            if want.tag not in self._wants:
                return
            want.dropped = True
            leased = want.pieces is not None
        try:
            if leased:
                self.give(want)
            else:
                self.send(_wire.tags(_wire.CANCEL, [want.tag]))
        except ConnectionLost:
            pass  # that gave it back

    def _receive(self) -> None:
        """Take the daemon's messages until the connection ends."""
        why = "mountd closed it"
        try:
            while data := self._socket.recv(_wire.MAX_MESSAGE + 1):
                self._handle(*_wire.split(data))
        except OSError as error:
            why = str(error)
        self._end(why)

    def _handle(self, kind: int, tag: int, body: bytes) -> None:
        with self.changed:
            if kind == _wire.OPENED and tag in self._opens:
                self._opens[tag] = _wire.parse_opened(body)
            elif kind == _wire.LEASE and tag in self._wants:
                self._lease(self._wants[tag], _wire.parse_lease(body, self.welcome.size))
            elif self.ended is None:
                raise _wire.ProtocolError(f"a message of type {kind} for {tag}")
            self.changed.notify_all()

    def _lease(self, want: Want, leased: _wire.Leased) -> None:
        """Take a lease, or the error in its place."""
        if leased.errno:
            want.error = os_error(leased.errno, leased.text, want.file.path)
            del self._wants[want.tag]
        elif sum(length for _, length in leased.pieces) != want.length:
            raise _wire.ProtocolError(f"a lease of {leased.pieces} for {want.length} bytes")
        elif want.dropped:  # it was leased before the daemon heard of the CANCEL
            del self._wants[want.tag]
            self.send(_wire.tags(_wire.GIVE, [want.tag]))
        else:
            want.pieces = leased.pieces


def _receive_descriptors(connection: socket.socket) -> tuple[bytes, list[int]]:
    """A message with the descriptors that came with it, which no other program inherits."""
    fds = array.array("i")
    data, ancillary, _, _ = connection.recvmsg(_wire.MAX_MESSAGE + 1, socket.CMSG_SPACE(4 * fds.itemsize), socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


class Connections:
    """One connection for each mount, which all files of the process share, and which
    ends with the last of them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Connection] = {}  # guarded by _lock
        self._users: dict[Connection, int] = {}  # guarded by _lock
        # Files that nobody has closed. The collector, which finds them, may run in any
        # place, so they are closed when the next one is opened.
        self.left: deque[RemoteFile] = deque()

    def open(self, place: Place) -> tuple[Connection, RemoteFile]:
        """Open a file. Raises NoHandoff where there is no connection to be had."""
        while self.left:
            file = self.left.popleft()
            file.close()
            self.release(file.connection)
        connection = self._acquire(place.socket)
        try:
            return connection, connection.open(place.path)
        except BaseException:
            self.release(connection)
            raise

    def _acquire(self, socket: str) -> Connection:
        with self._lock:
            connection = self._open.get(socket)
            if connection is None or connection.ended is not None:
                try:
                    connection = Connection(socket)
                except (ConnectionRefusedError, FileNotFoundError):  # a socket that a daemon left
                    raise NoHandoff(NOT_SHARED) from None
                except OSError as error:
                    raise NoHandoff(f"mountd leases nothing to this process: {error.strerror or error}") from error
                self._open[socket] = connection
                self._users[connection] = 0
            self._users[connection] += 1
            return connection

    def retain(self, connection: Connection) -> None:
        """Have a connection, of which a file is open, until one release more."""
        with self._lock:
            if connection in self._users:
                self._users[connection] += 1

    def release(self, connection: Connection) -> None:
        """A file of the connection was closed."""
        with self._lock:
            if connection not in self._users:  # of the parent process
                return
            self._users[connection] -= 1
            if self._users[connection]:
                return
            del self._users[connection]
            for key in [key for key, value in self._open.items() if value is connection]:
                del self._open[key]
        connection.close()

    def forget(self) -> None:
        """In a forked process, which is another client."""
        for connection in self._users:
            connection.forget()
        self.reset()


connections = Connections()
os.register_at_fork(after_in_child=connections.forget)
