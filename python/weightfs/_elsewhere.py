"""Files that are not leased: safetensors' own reader has them."""
from __future__ import annotations

import os
from contextlib import closing
from types import ModuleType
from typing import Any, Callable, Iterable, Iterator, Literal, Sequence, TypeVar

from ._find import NoHandoff, NoMount
from ._leased import LeasedFile, log
from ._mapped import MappedTensors
from ._stream import Elsewhere, Stream
from ._tensors import SafeFile, Target

T = TypeVar("T")

# How many bytes of tensors are fetched ahead of who takes them.
AHEAD = 128 << 20


def default_threads() -> int:
    """How many threads copy: one keeps up with what one consumer takes, unless there
    are processors to spare."""
    return max(1, min(4, len(os.sched_getaffinity(0)) // 2))


def tell(path: str, why: NoMount | NoHandoff) -> None:
    """Say why a file that lies on a mount is not leased."""
    if isinstance(why, NoHandoff):
        log.warning("%s is read through its mount: %s", path, why)


def why_not_leased(path: str) -> str | None:
    """Why a file is not leased; None where it is. It connects to the mount's daemon."""
    try:
        LeasedFile(path).close()
    except (NoMount, NoHandoff) as why:
        return str(why)
    return None


def safetensors(path: str) -> ModuleType:
    """The package, which reads the file at path."""
    try:
        import safetensors
    except ImportError:
        raise ImportError(f"{path} is not leased from a mount: to read it, install safetensors") from None
    return safetensors


def file_names(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    if isinstance(paths, (str, os.PathLike)):
        return [os.fspath(paths)]
    return [os.fspath(path) for path in paths]


def iterate(
    paths: Sequence[str],
    target: Target[T],
    framework: Literal["pt", "np"],
    device: str,
    choose: Callable[[str], bool] | None,
    ahead: int,
    threads: int | None,
    mapped: MappedTensors[T] | None = None,
) -> Iterator[tuple[str, T]]:
    """Tensors of files on mounts and of others, in order. The first file that is not
    leased, though it lies on a mount, is told of."""
    told = False
    with closing(iter(Stream(paths, target, choose, ahead, threads or default_threads(), mapped))) as items:
        for item in items:
            if not isinstance(item, Elsewhere):
                yield item
                continue
            if isinstance(item.why, NoHandoff) and not told:
                tell(item.path, item.why)
                told = True
            yield from _read(item.path, framework, device, choose)


def _read(path: str, framework: str, device: str, choose: Callable[[str], bool] | None) -> Iterator[tuple[str, Any]]:
    with safetensors(path).safe_open(path, framework=framework, device=device) as file:
        names = file.offset_keys() if hasattr(file, "offset_keys") else file.keys()
        for name in names:
            if choose is None or choose(name):
                yield name, file.get_tensor(name)


def safe_open(path: str, target: Target[T], framework: Literal["pt", "np"], device: str) -> Any:
    """A SafeFile, or safetensors' own."""
    try:
        return SafeFile(path, target)
    except (NoMount, NoHandoff) as why:
        tell(path, why)
        return safetensors(path).safe_open(path, framework=framework, device=device)
