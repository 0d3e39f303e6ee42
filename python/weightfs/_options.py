"""What vLLM's --model-loader-extra-config may say of our load formats: the keys of its
runai_streamer. vLLM is not needed here."""
from __future__ import annotations

import string
from typing import Any, NamedTuple

from ._elsewhere import AHEAD

SHARDED = "weightfs_sharded"

_UNLIMITED = 1 << 62

_RANKS = {"rank", "tp_rank", "pp_rank"}


class Options(NamedTuple):
    """See parse."""

    concurrency: int | None  # threads that copy; None: iterate's default
    memory_limit: int  # bytes of tensors that are fetched ahead
    pattern: str | None  # of the names of a rank's files; None: vLLM's default
    distributed: bool


def parse(load_format: str, extra: Any) -> Options:
    """Check an extra config, of which nothing is used before all of it was checked.
    Raises ValueError, which names the load format and the key."""
    if not isinstance(extra, dict):
        raise ValueError(f"{load_format}: the extra config is no object: {extra!r}")
    known = ["concurrency", "distributed", "memory_limit"] + ["pattern"] * (load_format == SHARDED)
    unknown = sorted(map(str, extra.keys() - set(known)))
    if unknown:
        raise ValueError(f"{load_format}: the extra config has no key {', '.join(unknown)}; it has {', '.join(known)}")

    def refuse(key: str, what: str) -> ValueError:
        return ValueError(f"{load_format}: {key} must be {what}, not {extra[key]!r}")

    concurrency = extra.get("concurrency")
    if concurrency is not None and not (_is_int(concurrency) and concurrency > 0):
        raise refuse("concurrency", "a positive integer")
    limit = extra.get("memory_limit", AHEAD)
    if not _is_int(limit) or limit < -1:
        raise refuse("memory_limit", "a number of bytes, 0 for one tensor at a time, or -1 for no limit")
    distributed = extra.get("distributed", False)
    if not isinstance(distributed, bool):
        raise refuse("distributed", "true or false")
    pattern = extra.get("pattern")
    if pattern is not None and not _is_pattern(pattern):
        raise refuse("pattern", "a file name with {part} and {rank}, or {tp_rank} and {pp_rank}")
    return Options(concurrency, _UNLIMITED if limit == -1 else limit, pattern, distributed)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pattern(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(value) if field is not None}
    except ValueError:
        return False
    return "part" in fields and bool(fields & _RANKS) and fields <= _RANKS | {"part"}
