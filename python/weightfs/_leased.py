"""Files whose ranges are leased from a mount's daemon."""
from __future__ import annotations

import ctypes
import errno
import itertools
import logging
import threading
import weakref
from collections import deque
from typing import Any, Callable, Iterable, Iterator, Sequence

from ._connection import Want, connections
from ._files import File, PlainFile, View
from ._find import NoMount, find
from ._memory import copy
from ._spans import Extent, Span, scatter, spans
from .errors import ConnectionLost, about

log = logging.getLogger("weightfs")

Write = Callable[[Any, int, int, int], None]  # see scatter

# How many ranges are wanted ahead. More would wait in line at the daemon, which lets
# a client hold a quarter of its memory at most.
WINDOW = 32


class LeasedView(View):
    """A view of mountd's memory."""

    def __init__(self, file: LeasedFile, want: Want, blocks: int, pieces: Iterable[tuple[int, int]]) -> None:
        arrays = [(ctypes.c_char * length).from_address(address) for address, length in pieces]
        for made in arrays:  # which keep the mapping
            weakref.finalize(made, _nothing, file.connection.memory).atexit = False
        super().__init__(memoryview(made).cast("B").toreadonly() for made in arrays)
        self._referents = [weakref.ref(made) for made in arrays]
        self._file = file
        self._want: Want | None = want
        self._blocks = blocks

    def release(self) -> None:
        if self._want is None:
            return
        try:
            super().release()
        except BufferError as error:
            raise BufferError(f"{self._what()}: {error}") from None
        if any(referent() is not None for referent in self._referents):
            raise BufferError(f"{self._what()}: something still refers to the bytes")
        want, self._want = self._want, None
        self._file.views.discard(self)
        self._file.connection.keep(-self._blocks)
        try:
            want.give()
        except ConnectionLost as error:
            raise about(error, f"[{want.offset},{want.offset + want.length})", self._file.path) from None

    def _what(self) -> str:
        assert self._want is not None
        return f"{self._file.path} [{self._want.offset},{self._want.offset + self._want.length})"


def _nothing(_: object) -> None:
    pass


class LeasedFile(File):
    """A file whose ranges are leased."""

    def __init__(self, path: str) -> None:
        """Raises NoMount, also where the kernel reads the file by itself, which is as
        good; NoHandoff; or the OSError that open(2) would."""
        self.path = path
        place = find(path)
        try:
            try:
                self.connection, self.remote = connections.open(place)
            except ConnectionLost:  # of a daemon that had ended, which was not seen yet
                self.connection, self.remote = connections.open(place)
        except OSError as error:
            raise about(error, "open", path) from None
        self._left = weakref.finalize(self, connections.left.append, self.remote)
        self._left.atexit = False
        self.size = self.remote.size
        self.views: set[LeasedView] = set()
        self._gone: ConnectionLost | None = None
        self._mount: PlainFile | None = None  # guarded by _lock
        self._lock = threading.Lock()
        if self.remote.by_kernel:
            self.close()
            raise NoMount("the kernel reads it by itself, from the folder that is mounted")

    @property
    def leased(self) -> bool:
        return True

    @property
    def longest_view(self) -> int:
        welcome = self.connection.welcome
        return min(welcome.max_length, max(1, welcome.cap - 2 * welcome.block_size))

    def view(self, offset: int = 0, length: int | None = None) -> View:
        offset, length = self._range(offset, length)
        if not 0 < length <= self.longest_view:
            return View([memoryview(self.read(offset, length))])
        try:
            blocks = self.connection.span(offset, length)
            self.connection.keep(blocks)
            try:
                want = self.remote.want([(offset, length)], blocks)[0]
                try:
                    view = LeasedView(self, want, blocks, want.wait())
                except BaseException:
                    want.drop()
                    raise
            except BaseException:
                self.connection.keep(-blocks)
                raise
        except OSError as error:
            raise about(error, f"[{offset},{offset + length})", self.path) from None
        self.views.add(view)
        return view

    def readinto(self, buffer: Any, offset: int = 0) -> int:
        target = memoryview(buffer).cast("B")
        offset, length = self._range(offset, target.nbytes)
        if not length:
            return 0
        to = (ctypes.c_char * length).from_buffer(target)

        def write(_: Any, at: int, address: int, n: int) -> None:
            copy(ctypes.addressof(to) + at, address, n)

        self.fetch(spans([Extent(None, offset, offset + length)], self.longest_range), write)
        return length

    @property
    def longest_range(self) -> int:
        return self.connection.welcome.max_length

    @property
    def window(self) -> int:
        """How many ranges to want ahead. It is one where others of this process want
        nearly all that it may, so that nobody waits for more while he keeps some."""
        return WINDOW if self.connection.free() > 4 * WINDOW else 1

    def want(self, batch: Sequence[Span]) -> Sequence[Want | None]:
        """Ask for spans, to be taken in this order. There is none where the connection
        has ended."""
        if self._gone is None:
            try:
                return self.remote.want([(span.offset, span.length) for span in batch])
            except ConnectionLost as error:
                self._gone = error
        return [None] * len(batch)

    def take(
        self,
        span: Span,
        want: Want | None,
        write: Write,
        stopped: Callable[[], bool] = lambda: False,
        give: Callable[[Want], None] = Want.give,
    ) -> None:
        """Have write take what lies in a span, see scatter, and give it back. Once it
        returns, the bytes were right: those of a lease that was lost are read again,
        from the mount."""
        if want is not None:
            try:
                scatter(span, want.wait(stopped), write)
                give(want)
                return
            except ConnectionLost as error:
                self._gone = error
        buffer = (ctypes.c_char * span.length)()
        self.reread(buffer, span.offset, self._gone)
        scatter(span, [(ctypes.addressof(buffer), span.length)], write)

    def reread(self, buffer: Any, offset: int, lost: ConnectionLost | None) -> None:
        """Read a range from the mount, since the connection was lost. The file may have
        been closed. Raises that error where the mount has ended too."""
        try:
            if self._opened_mount(lost).readinto(buffer, offset) < len(buffer):
                raise OSError(errno.EIO, "the file is shorter than it was")
        except OSError as error:
            if error.errno in (errno.ENOTCONN, errno.ECONNABORTED):
                raise lost or error from None
            raise

    def _opened_mount(self, lost: ConnectionLost | None) -> PlainFile:
        """The file on the mount, if it is of the same version. Others go on reading a
        mount whose daemon was replaced."""
        with self._lock:
            if self._mount is None:
                mount = PlainFile(self.path)
                if mount.inode != self.remote.inode or mount.size != self.size:
                    mount.close()
                    raise OSError(errno.ESTALE, "it was replaced while the connection to mountd was lost")
                log.warning("%s is read through its mount: %s", self.path, lost.strerror if lost else "")
                self._mount = mount
            return self._mount

    def fetch(self, wanted: Iterable[Span], write: Write) -> None:
        """Lease spans one behind the other, of which some are wanted ahead, and have
        write take what lies in them, see scatter. Once it returns, the bytes were
        right."""
        under_way: deque[tuple[Span, Want | None]] = deque()
        following = iter(wanted)
        try:
            while self._want_ahead(following, under_way):
                span, want = under_way[0]
                try:
                    self.take(span, want, write)
                except OSError as error:
                    raise about(error, f"[{span.offset},{span.offset + span.length})", self.path) from None
                under_way.popleft()
        finally:
            for _, want in under_way:
                if want is not None:
                    want.drop()

    def _want_ahead(self, following: Iterator[Span], under_way: deque[tuple[Span, Want | None]]) -> int:
        """Want more once half of what was wanted has come, so that messages are few."""
        window = self.window
        if len(under_way) <= window // 2:
            batch = list(itertools.islice(following, window - len(under_way)))
            if batch:
                try:
                    wants = self.want(batch)
                except OSError as error:
                    end = batch[-1].offset + batch[-1].length
                    raise about(error, f"[{batch[0].offset},{end})", self.path) from None
                under_way.extend(zip(batch, wants))
        return len(under_way)

    def close(self) -> None:
        for view in list(self.views):
            view.release()
        with self._lock:
            mount, self._mount = self._mount, None
        if mount is not None:
            mount.close()
        if self._left.detach() is not None:
            self.remote.close()
            connections.release(self.connection)
