"""Tensors of many files in file order, while later ones are fetched.

Threads take turns to want ranges ahead; each copies what is leased to where it goes,
and gives it back at once: however slowly the tensors are taken, no lease is held
meanwhile. Another one opens the next file. If the caller allows it, tensors are mapped
instead, see _mapped.
"""
from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import Any, Callable, Generator, Generic, Iterator, Sequence, TypeVar

from ._connection import Stopped, Want
from ._find import NoHandoff, NoMount
from ._header import Entry, Header
from ._leased import LeasedFile
from ._mapped import Lease, MappedTensor, MappedTensors
from ._spans import Extent, Span, spans
from ._tensors import Sink, Target, open_header
from .errors import about

T = TypeVar("T")

# How long the consumer waits, in seconds, before what is mapped is given back: of its share
# nothing may be left for what it waits for.
_STARVED = 0.1


class Elsewhere:
    """A file that is not leased, in its place among the others."""

    def __init__(self, path: str, why: NoMount | NoHandoff) -> None:
        self.path, self.why = path, why


class _Tensor(Generic[T]):
    """A tensor under way."""

    def __init__(self, file: LeasedFile, entry: Entry) -> None:
        self.file, self.entry = file, entry
        self.left = entry.end - entry.begin  # bytes
        self.last = False  # of its file
        self.sink: Sink[T] | None = None  # once its first range is wanted

    @property
    def nbytes(self) -> int:
        return self.entry.end - self.entry.begin

    def take_sink(self) -> Sink[T]:
        sink, self.sink = self.sink, None
        assert sink is not None
        return sink


class _Job:
    """A range that is wanted, of a file."""

    def __init__(self, file: LeasedFile, span: Span) -> None:
        self.file, self.span = file, span
        self.want: Want | None = None

    def about(self, error: OSError) -> OSError:
        """An error, with the tensor and the range."""
        end = self.span.offset + self.span.length
        return about(error, f"tensor {self.span.parts[0].key.entry.name!r} [{self.span.offset},{end})", self.file.path)


class Stream(Generic[T]):
    """Iterate over it once. It yields pairs of name and tensor, and an Elsewhere for
    each file that is not leased."""

    def __init__(
        self,
        paths: Sequence[str],
        target: Target[T],
        choose: Callable[[str], bool] | None,
        ahead: int,
        threads: int,
        mapped: MappedTensors[T] | None = None,
    ) -> None:
        """ahead is how many bytes of tensors are fetched and not taken, or one tensor;
        threads is how many copy; mapped has the tensors that need not be copied."""
        self._mapped = mapped
        self._target, self._choose, self._ahead, self._threads = target, choose, ahead, threads
        self._turn = threading.Lock()  # to want ranges ahead, and to take the oldest
        # Guarded by _turn:
        self._paths = deque(paths)
        self._opening: Future[tuple[LeasedFile, Header] | Elsewhere] | None = None
        self._current: Iterator[_Job] = iter(())  # of the file that is fetched
        self._next: _Job | None = None
        self._under_way: deque[_Job] = deque()  # wanted

        self._changed = threading.Condition()
        # Guarded by _changed:
        self._order: deque[_Tensor[T] | Elsewhere] = deque()  # not ready yet, as are their left
        self._copying = 0  # jobs
        self._ready: deque[_Tensor[T] | Elsewhere] = deque()
        self._held = 0  # bytes of tensors begun and not taken
        self._ended = False
        self._error: BaseException | None = None
        self._stopped = False
        self._files: set[LeasedFile] = set()

    def __iter__(self) -> Generator[tuple[str, T] | Elsewhere, None, None]:
        thread = threading.Thread(target=self._run, name="weightfs fetch", daemon=True)
        thread.start()
        try:
            while (item := self._take()) is not None:
                if isinstance(item, Elsewhere):
                    yield item
                else:  # nothing here keeps the tensor, whose buffer is used again
                    yield item.entry.name, item.take_sink().tensor()
        finally:
            self._stop()
            thread.join()
            if self._mapped is not None:
                self._mapped.close()

    def _take(self) -> _Tensor[T] | Elsewhere | None:
        """The next of what is ready; None at the end."""
        if self._mapped is not None:
            self._mapped.check()
        with self._changed:
            while not self._changed.wait_for(lambda: self._ready or self._ended, _STARVED if self._mapped else None):
                if self._mapped is not None:
                    self._mapped.own_all()
            if not self._ready:
                if self._error is not None:
                    raise self._error
                return None
            item = self._ready.popleft()
            if isinstance(item, _Tensor):
                self._held -= item.nbytes
            self._changed.notify_all()
            return item

    def _stop(self) -> None:
        """Have the thread end, and wake it wherever it waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            connections = {file.connection for file in self._files}
        for connection in connections:
            with connection.changed:
                connection.changed.notify_all()

    def _run(self) -> None:
        helpers: list[threading.Thread] = []
        try:
            try:
                self._open_next()
                while len(helpers) < self._threads - 1:
                    helper = threading.Thread(target=self._work, name="weightfs copy", daemon=True)
                    helper.start()
                    helpers.append(helper)
            except BaseException as error:
                self._fail(error)
            self._work()
            for helper in helpers:
                helper.join()
        finally:
            self._clean_up()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _work(self) -> None:
        """Copy ranges until there are no more."""
        try:
            while (job := self._take_job()) is not None:
                try:
                    self._copy(job)
                finally:
                    with self._changed:
                        self._copying -= 1
                        self._changed.notify_all()
        except Stopped:
            pass
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Leave an error to the consumer, and have all threads end."""
        with self._changed:
            if self._error is None:
                self._error = error
        self._stop()

    def _take_job(self) -> _Job | None:
        """The oldest of the ranges that are wanted; None at the end."""
        with self._turn:
            if not self._want_ahead():
                return None
            job = self._under_way.popleft()
            with self._changed:
                self._copying += 1
            return job

    def _clean_up(self) -> None:
        for job in self._under_way:
            if job.want is not None:
                job.want.drop()
        if self._opening is not None:
            self._opening.add_done_callback(_close_opened)
        for file in list(self._files):
            self._close(file)

    # What is wanted

    def _want_ahead(self) -> bool:
        """Want more once half of what was wanted has come. False at the end."""
        batch: list[_Job] = []
        while True:
            idle = not batch and not self._under_way
            job = self._following(idle)
            if job is None:
                break
            window = job.file.window
            if not batch and len(self._under_way) > window // 2 or len(self._under_way) + len(batch) >= window:
                break
            if batch and job.file is not batch[0].file or not self._begin(job, idle):
                break
            batch.append(job)
            self._next = None
        if batch:
            try:
                wants = batch[0].file.want([job.span for job in batch])
            except OSError as error:
                raise batch[0].about(error) from None
            for job, want in zip(batch, wants):
                job.want = want
            self._under_way.extend(batch)
        return bool(self._under_way)

    def _following(self, may_wait: bool) -> _Job | None:
        """The next range. None at the end, or where the next file is not open yet."""
        while self._next is None:
            self._next = next(self._current, None)
            if self._next is None:
                if self._opening is None or not may_wait and not self._opening.done():
                    return None
                self._begin_file()
        return self._next

    def _open_next(self) -> None:
        if not self._paths:
            self._opening = None
            return
        self._opening = Future()
        arguments = self._paths.popleft(), self._opening
        threading.Thread(target=self._open, args=arguments, name="weightfs open", daemon=True).start()

    def _open(self, path: str, opening: Future[tuple[LeasedFile, Header] | Elsewhere]) -> None:
        try:
            opening.set_result(open_header(path))
        except (NoMount, NoHandoff) as why:
            opening.set_result(Elsewhere(path, why))
        except BaseException as error:  # it is the consumer's
            opening.set_exception(error)
        with self._changed:
            self._changed.notify_all()

    def _begin_file(self) -> None:
        """Take the file that was opened, and open the next one."""
        opening = self._opening
        assert opening is not None
        with self._changed:
            self._changed.wait_for(lambda: opening.done() or self._stopped)
            if self._stopped:
                raise Stopped
        self._opening = None
        opened = opening.result()
        if isinstance(opened, Elsewhere):
            with self._changed:
                self._order.append(opened)
        else:
            self._plan(*opened)
        self._open_next()
        self._deliver()

    def _plan(self, file: LeasedFile, header: Header) -> None:
        """Choose tensors, and cut them into ranges."""
        chosen: list[_Tensor[T]] = [_Tensor(file, entry) for entry in header.entries if self._choose is None or self._choose(entry.name)]
        if chosen:
            chosen[-1].last = True
        with self._changed:
            self._files.add(file)
            self._order.extend(chosen)
        if not chosen:
            self._close(file)
        extents = (Extent(tensor, tensor.entry.begin, tensor.entry.end) for tensor in chosen)
        self._current = (_Job(file, span) for span in spans(extents, file.longest_range))

    def _begin(self, job: _Job, idle: bool) -> bool:
        """Make room for the tensors that begin in a range. False where too much is not
        taken yet; if idle, where nothing is wanted, it waits for that."""
        fresh = [part.key for part in job.span.parts if part.key.sink is None]
        needed = sum(tensor.nbytes for tensor in fresh)

        def has_room() -> bool:
            # A tensor may need all, and the one before may end in its first range.
            nothing_else = idle and not self._copying and not self._ready
            return not needed or self._held + needed <= self._ahead or not self._held or nothing_else

        with self._changed:
            if idle:
                self._changed.wait_for(lambda: has_room() or self._stopped)
            if self._stopped:
                raise Stopped
            if not has_room():
                return False
            self._held += needed
        for tensor in fresh:
            self._make_sink(tensor)
        return True

    def _make_sink(self, tensor: _Tensor[T]) -> None:
        if self._mapped is not None:
            tensor.sink = self._mapped.begin(tensor.file, tensor.entry)
        if tensor.sink is None:
            tensor.sink = self._target.begin(tensor.entry.dtype, tensor.entry.shape, tensor.nbytes)

    # What has come

    def _copy(self, job: _Job) -> None:
        """Copy a range to where it goes, and give it back, or map it there."""
        if job.want is None or self._mapped is None:
            self._copy_lease(job, None, Want.give, Want.drop)
        else:
            lease, mapped = Lease(job.want), self._mapped
            self._copy_lease(job, lease, lambda _: mapped.release(lease, lease), lambda _: mapped.drop(lease))
        with self._changed:
            for part in job.span.parts:
                part.key.left -= part.length
            self._deliver()

    def _copy_lease(self, job: _Job, lease: Lease | None, give: Callable[[Want], None], drop: Callable[[Want], None]) -> None:
        def write(tensor: _Tensor[T], offset: int, address: int, length: int) -> None:
            sink = tensor.sink
            assert sink is not None
            if lease is not None and isinstance(sink, MappedTensor):
                sink.map(offset, address, length, lease)
            else:
                sink.write(offset, address, length)

        try:
            job.file.take(job.span, job.want, write, lambda: self._stopped, give)
        except OSError as error:
            raise job.about(error) from None
        finally:
            if job.want is not None:
                drop(job.want)  # does nothing where it was given back

    def _deliver(self) -> None:
        """Hand over what is complete, in order."""
        with self._changed:
            before = len(self._ready)
            while self._order and (isinstance(self._order[0], Elsewhere) or not self._order[0].left):
                item = self._order.popleft()
                self._ready.append(item)
                if isinstance(item, _Tensor):
                    if item.sink is None:  # it has no bytes
                        self._make_sink(item)
                    if item.last:
                        self._close(item.file)
            if len(self._ready) > before:
                self._changed.notify_all()

    def _close(self, file: LeasedFile) -> None:
        with self._changed:
            self._files.discard(file)
        file.close()


def _close_opened(opening: Future[Any]) -> None:
    if opening.exception() is None and not isinstance(opening.result(), Elsewhere):
        opening.result()[0].close()
