"""The messages of the hand-off, version 1: encoding and decoding alone.

docs/handoff.md of the repository describes them. Numbers are little-endian.
"""
from __future__ import annotations

import struct
from typing import NamedTuple, Sequence

VERSION = 1
MAX_MESSAGE = 16 << 10

HELLO, WELCOME, OPEN, OPENED, WANT, LEASE, GIVE, CANCEL, CLOSE = 1, 2, 3, 4, 5, 6, 7, 9, 11

_READ_ONLY = 0
REUSE = 1  # the feature

_HEADER = struct.Struct("<HHI")
_HELLO = struct.Struct("<8sHHHHI")
_WELCOME = struct.Struct("<IHHIIIIIIQQQ")
_OPENED = struct.Struct("<IIQQII")
_WANTED = struct.Struct("<IIQII")
_LEASED = struct.Struct("<IIQ")
_PIECE = struct.Struct("<QQ")

_MAX_PIECES = 64
_BY_KERNEL = 1

MAX_WANTS_IN_MESSAGE = (MAX_MESSAGE - _HEADER.size) // _WANTED.size


class ProtocolError(ConnectionError):
    """The daemon sent what it must not."""


class Welcome(NamedTuple):
    errno: int
    version: int
    mode: int
    features: int
    block_size: int
    max_length: int
    max_wants: int
    max_files: int
    zero: int
    size: int
    watermark: int
    cap: int


class Opened(NamedTuple):
    errno: int
    file: int
    size: int
    inode: int
    by_kernel: bool
    text: str


class Leased(NamedTuple):
    errno: int
    watermark: int
    pieces: tuple[tuple[int, int], ...]
    text: str


def message(kind: int, tag: int, body: bytes = b"") -> bytes:
    return _HEADER.pack(kind, 0, tag) + body


def hello() -> bytes:
    return message(HELLO, 0, _HELLO.pack(b"weightfs", VERSION, VERSION, _READ_ONLY, 0, REUSE))


def wants(entries: Sequence[tuple[int, int, int, int]]) -> bytes:
    """A WANT of (tag, file, offset, length) each."""
    return message(WANT, 0, b"".join(_WANTED.pack(*entry, 0) for entry in entries))


def tags(kind: int, numbers: Sequence[int]) -> bytes:
    """A GIVE or CANCEL."""
    return message(kind, 0, struct.pack(f"<{len(numbers)}I", *numbers))


def split(data: bytes) -> tuple[int, int, bytes]:
    """Type, tag and body of a message."""
    if not _HEADER.size <= len(data) <= MAX_MESSAGE:
        raise ProtocolError(f"a message of {len(data)} bytes")
    kind, zero, tag = _HEADER.unpack_from(data)
    if zero:
        raise ProtocolError(f"a message that begins {data[:8].hex()}")
    return kind, tag, data[_HEADER.size :]


def parse_welcome(body: bytes) -> Welcome:
    if len(body) != _WELCOME.size:
        raise ProtocolError(f"a WELCOME of {len(body)} bytes")
    return Welcome(*_WELCOME.unpack(body))


def parse_opened(body: bytes) -> Opened:
    if len(body) < _OPENED.size:
        raise ProtocolError(f"an OPENED of {len(body)} bytes")
    errno, file, size, inode, flags, _ = _OPENED.unpack_from(body)
    text = body[_OPENED.size :].decode(errors="replace")
    return Opened(errno, file, size, inode, bool(flags & _BY_KERNEL), text)


def parse_lease(body: bytes, memory: int) -> Leased:
    """A LEASE, whose pieces lie in a memory of so many bytes."""
    if len(body) < _LEASED.size:
        raise ProtocolError(f"a LEASE of {len(body)} bytes")
    errno, count, watermark = _LEASED.unpack_from(body)
    rest = body[_LEASED.size :]
    if errno:
        return Leased(errno, watermark, (), rest.decode(errors="replace"))
    if not 0 < count <= _MAX_PIECES or len(rest) != count * _PIECE.size:
        raise ProtocolError(f"{count} pieces in {len(rest)} bytes")
    pieces = tuple(_PIECE.iter_unpack(rest))
    for offset, length in pieces:
        if not length or offset > memory or length > memory - offset:
            raise ProtocolError(f"a piece [{offset},+{length}) of {memory} bytes")
    return Leased(0, watermark, pieces, "")
