"""Which ranges to lease, and which parts of them go where: arithmetic alone."""
from __future__ import annotations

import itertools
import math
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Sequence

# Slices that lie so near to each other are leased together: a lease of its own costs
# as much as to copy so many bytes.
GAP = 64 << 10


class Extent(NamedTuple):
    """Bytes of a file that somebody wants."""

    key: Any
    begin: int
    end: int


class Part(NamedTuple):
    """A part of a span that is of one extent."""

    key: Any
    offset: int  # in the extent
    at: int  # in the span
    length: int


class Span(NamedTuple):
    """A range to be leased."""

    offset: int
    length: int
    parts: list[Part]


def spans(extents: Iterable[Extent], longest: int, gap: int = 0) -> Iterator[Span]:
    """Cut extents, which are in file order, into ranges of at most longest bytes, cut
    at its multiples, so that each block is in one range. Extents with at most gap
    bytes between them are taken together."""
    parts: list[Part] = []
    start = end = limit = 0
    for extent in extents:
        at = extent.begin
        while at < extent.end:
            if parts and (at >= limit or at > end + gap):
                yield Span(start, end - start, parts)
                parts = []
            if not parts:
                start, limit = at, (at // longest + 1) * longest
            end = min(extent.end, limit)
            parts.append(Part(extent.key, at - extent.begin, at - start, end - at))
            at = end
    if parts:
        yield Span(start, end - start, parts)


def scatter(span: Span, pieces: Sequence[tuple[int, int]], write: Callable[[Any, int, int, int], None]) -> None:
    """Call write(key, offset in the extent, address, length) for all bytes of a span
    that is leased in pieces (address, length)."""
    following = iter(pieces)
    address, length = next(following)
    base = 0  # of the piece, in the span
    for part in span.parts:
        done = 0
        while done < part.length:
            at = part.at + done
            while at >= base + length:
                base += length
                address, length = next(following)
            n = min(part.length - done, base + length - at)
            write(part.key, part.offset + done, address + at - base, n)
            done += n


def select(shape: Sequence[int], index: Any) -> tuple[list[int], Iterator[tuple[int, int]], int]:
    """What index takes of a tensor: the shape of the result, and the runs of elements
    (first, count) that it consists of, all of the same count, which is the third.

    index is an int, a slice without a step, an ellipsis, or a tuple of these."""
    ranges, result = _resolve(shape, index)
    inner, axis = 1, len(shape) - 1
    while axis >= 0 and ranges[axis] == (0, shape[axis]):
        inner *= shape[axis]
        axis -= 1
    if axis < 0:
        return result, iter([(0, inner)]), inner
    first, stop = ranges[axis]
    count = (stop - first) * inner
    strides = [math.prod(shape[outer + 1 :]) for outer in range(axis)]

    def runs() -> Iterator[tuple[int, int]]:
        for position in itertools.product(*(range(*ranges[outer]) for outer in range(axis))):
            yield sum(map(int.__mul__, position, strides)) + first * inner, count

    return result, runs(), count


def _resolve(shape: Sequence[int], index: Any) -> tuple[list[tuple[int, int]], list[int]]:
    """The range that is taken of each axis, and the shape of the result."""
    given = list(index) if isinstance(index, tuple) else [index]
    if given.count(Ellipsis) > 1:
        raise IndexError("more than one ellipsis")
    if Ellipsis not in given:
        given.append(Ellipsis)
    if len(given) - 1 > len(shape):
        raise IndexError(f"{len(given) - 1} indices for {len(shape)} dimensions")
    at = given.index(Ellipsis)
    given[at : at + 1] = [slice(None)] * (len(shape) - len(given) + 1)
    ranges, result = [], []
    for size, what in zip(shape, given):
        if isinstance(what, slice):
            first, stop, step = what.indices(size)
            if step != 1:
                raise ValueError(f"a slice with a step of {step}")
            stop = max(first, stop)
            result.append(stop - first)
        else:
            first = what.__index__()
            first += size if first < 0 else 0
            if not 0 <= first < size:
                raise IndexError(f"index {what} of a dimension of {size}")
            stop = first + 1
        ranges.append((first, stop))
    return ranges, result
