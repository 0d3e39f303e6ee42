"""The header of a safetensors file, with the checks of the reference
implementation; a name that stands twice is refused too, by name."""
from __future__ import annotations

import itertools
import json
import math
import operator
from typing import Any, Callable, NamedTuple

from .errors import FormatError

_MAX_HEADER = 100_000_000

# What is read at first: most headers are shorter.
_FIRST_READ = 128 << 10

BITS = {
    "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


class Entry(NamedTuple):
    """A tensor, and where it lies in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    metadata: dict[str, str] | None
    entries: list[Entry]  # in file order


def read_header(path: str, size: int, read: Callable[[int, int], bytes]) -> Header:
    """Read and check a header; read(offset, length) reads the file at path. Raises
    FormatError, which names the file, and the tensor where it is one's fault."""
    if size < 8:
        raise FormatError(f"{path}: {size} bytes are no safetensors file")
    data = read(0, min(size, _FIRST_READ))
    length = int.from_bytes(data[:8], "little")
    if length > _MAX_HEADER:
        raise FormatError(f"{path}: a header of {length} bytes is longer than {_MAX_HEADER}")
    if 8 + length > size:
        raise FormatError(f"{path}: a header of {length} bytes in a file of {size}")
    if 8 + length > len(data):
        data += read(len(data), 8 + length - len(data))
    try:
        parsed = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_unique, parse_int=_integer, parse_constant=_refuse)
        metadata, entries = _entries(parsed, 8 + length)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: the header is no JSON of a safetensors file: {error}") from None
    _check_layout(path, size, 8 + length, entries)
    return Header(metadata, entries)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise FormatError(f"{twice!r} stands twice in the header")
    return made


def _integer(text: str) -> int | float:
    """An integer; of -0 it is none, as for the reference."""
    return int(text) if text != "-0" else -0.0


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _entries(parsed: Any, base: int) -> tuple[dict[str, str] | None, list[Entry]]:
    if not isinstance(parsed, dict):
        raise FormatError("the header is no object")
    metadata = parsed.pop("__metadata__", None)
    if metadata is not None and not (isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())):
        raise FormatError("__metadata__ has values that are no strings")
    entries = [_entry(name, fields, base) for name, fields in parsed.items()]
    return metadata, sorted(entries, key=lambda entry: (entry.begin, entry.end))


def _entry(name: str, fields: Any, base: int) -> Entry:
    if not isinstance(fields, dict):
        raise FormatError(f"tensor {name!r}: its entry is no object")
    dtype: Any = fields.get("dtype")
    shape: Any = fields.get("shape")
    offsets: Any = fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise FormatError(f"tensor {name!r}: dtype {dtype!r} is not known")
    if not _are_sizes(shape):
        raise FormatError(f"tensor {name!r}: shape {shape!r}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise FormatError(f"tensor {name!r}: data_offsets {offsets!r}")
    return Entry(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 64 for value in values)


def _check_layout(path: str, size: int, base: int, entries: list[Entry]) -> None:
    """All bytes of the file are of one tensor each."""
    end = base
    for entry in entries:
        what = f"{path}: tensor {entry.name!r} [{entry.begin},{entry.end})"
        if entry.begin != end or entry.end < entry.begin:
            raise FormatError(f"{what} does not follow the one before, which ends at {end}")
        sizes = itertools.accumulate((*entry.shape, BITS[entry.dtype]), operator.mul)
        bits = math.prod(entry.shape) * BITS[entry.dtype]
        if max(sizes) >= 1 << 64:
            raise FormatError(f"{what}: the shape {list(entry.shape)} is too large")
        if bits % 8:
            raise FormatError(f"{what}: {entry.dtype} of shape {list(entry.shape)} does not end at a byte")
        if bits // 8 != entry.end - entry.begin:
            raise FormatError(f"{what}: {entry.dtype} of shape {list(entry.shape)} has {bits // 8} bytes")
        end = entry.end
    if end != size:
        raise FormatError(f"{path}: the tensors end at {end}, the file at {size}")
