"""Memory by address: mappings of mountd's memory, buffers that are used again, and
copies during which other threads run."""
from __future__ import annotations

import collections
import ctypes
import fcntl
import mmap
import os
import weakref
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

# Linux's.
_MADV_HUGEPAGE = 14
_MADV_POPULATE_READ = 22
_MADV_POPULATE_WRITE = 23
_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000

_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_MAP_FAILED = ctypes.c_void_p(-1).value

# What is copied at once: it stays in the processor's caches.
_STEP = 1 << 20

# Smaller buffers are the allocator's, which has them at hand.
_MIN_REUSED = 1 << 20

_HUGE_PAGE = 2 << 20


class Mapping:
    """A file in memory, mapped read-only. The mapping ends when nothing refers to its buffer
    any more: no view of it can outlive it."""

    def __init__(self, fd: int, size: int) -> None:
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        if address == _MAP_FAILED:
            raise _error("map the memory of mountd")
        self.address: int = address
        self.size = size
        self.fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC)
        buffer = (ctypes.c_char * size).from_address(address)
        weakref.finalize(buffer, _libc.munmap, address, size).atexit = False
        self._buffer = buffer  # which keeps it mapped
        weakref.finalize(self, os.close, self.fd).atexit = False


class Window:
    """A range of addresses that shows parts of a Mapping side by side. It is private: what
    is written to it stays in it. A page that was not written shows what the Mapping has
    now, until own. It must be unmapped."""

    def __init__(self, size: int) -> None:
        """Reserve the addresses of so many bytes, where zeros lie. Raises OSError."""
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._reserved = self.size + _HUGE_PAGE
        address = _libc.mmap(None, self._reserved, _READ_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE, -1, 0)
        if address == _MAP_FAILED:
            raise _error("reserve memory for a tensor")
        self._reservation: int = address
        self.address: int = address

    def align(self, at: int, offset: int) -> None:
        """Move the window, which was not used yet, so that this byte of it lies to huge pages
        as that of the Mapping does: to map one is one entry of the page table, not 512."""
        self.address += (offset - at - self.address) % _HUGE_PAGE

    def show(self, at: int, memory: Mapping, offset: int, length: int) -> bool:
        """Show a part of the mapping at an address of the window. False where that cannot
        be: then the bytes must be copied. Pages are shown whole, so the part must be all
        that is used of its first and last page."""
        before = at % mmap.PAGESIZE
        if (offset - at) % mmap.PAGESIZE:
            return False
        length = -(-(length + before) // mmap.PAGESIZE) * mmap.PAGESIZE
        flags = mmap.MAP_PRIVATE | _MAP_FIXED | _MAP_NORESERVE
        if _libc.mmap(at - before, length, _READ_WRITE, flags, memory.fd, offset - before) == _MAP_FAILED:
            return False
        _libc.madvise(at - before, length, _MADV_POPULATE_READ)  # at once: it costs less than page by page
        return True

    def own(self) -> None:
        """Copy all pages that were not written, in place: from now on the window shows
        what it showed, whatever becomes of the Mapping. Raises OSError."""
        if _libc.madvise(self.address, self.size, _MADV_POPULATE_WRITE):
            raise _error("copy a tensor that is kept")

    def unmap(self) -> None:
        _libc.munmap(self._reservation, self._reserved)


def windows_can_own() -> bool:
    """Whether Window.own works: since Linux 5.14."""
    return not _libc.madvise(None, 0, _MADV_POPULATE_WRITE)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def copy(to: int, source: int, length: int) -> None:
    """Copy between addresses. Other threads run meanwhile."""
    for done in range(0, length, _STEP):
        ctypes.memmove(to + done, source + done, min(_STEP, length - done))


class Buffers:
    """Buffers for tensors. One that nobody refers to any more is used again: to touch
    fresh memory costs as much as three copies."""

    def __init__(self, keep: int) -> None:
        """keep is how many bytes are kept for further use."""
        self._keep = keep
        self._free: collections.deque[mmap.mmap] = collections.deque()

    def take(self, length: int) -> Any:
        """A ctypes array of so many bytes, whose content is undefined. Its memory is
        its own until nothing refers to it."""
        if length < _MIN_REUSED:
            return (ctypes.c_char * length)()
        block = self._find(length) or _fresh(length)
        array = (ctypes.c_char * length).from_buffer(block)
        weakref.finalize(array, _give_back, weakref.ref(self), block).atexit = False
        return array

    def _find(self, length: int) -> mmap.mmap | None:
        """A free buffer that is long enough and not twice as long. The oldest are
        dropped where too much is kept."""
        returned = []
        while self._free:
            returned.append(self._free.popleft())
        found, kept = None, 0
        for block in reversed(returned):
            if found is None and length <= len(block) <= 2 * length + _HUGE_PAGE:
                found = block
            elif kept + len(block) <= self._keep:
                kept += len(block)
                self._free.appendleft(block)
        return found


def _give_back(owner: weakref.ref[Buffers], block: mmap.mmap) -> None:
    """Keep a block that nobody refers to. It may be called at any place, and only
    appends. Once its owner is gone, the block goes back to the system."""
    buffers = owner()
    if buffers is not None:
        buffers._free.append(block)


def _fresh(length: int) -> mmap.mmap:
    block = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    use_huge_pages(ctypes.addressof(ctypes.c_char.from_buffer(block)), length)
    return block


def use_huge_pages(address: int, length: int) -> None:
    """Have memory that was not touched yet in huge pages, as far as it consists of whole
    ones: to touch small ones costs as much as three copies. A kernel that has none goes
    on without."""
    begin, end = -(-address // _HUGE_PAGE) * _HUGE_PAGE, (address + length) // _HUGE_PAGE * _HUGE_PAGE
    if end > begin:
        _libc.madvise(begin, end - begin, _MADV_HUGEPAGE)
