"""Model weights from a weightfs mount, leased from mountd's own memory.

weightfs.open(path) is a file whose ranges are leased, read-only. weightfs.torch and
weightfs.numpy load safetensors files. On a path that lies on no mount, or on one that
leases nothing to this process, the file is read in the ordinary way.
"""
from __future__ import annotations

import importlib
import os
from types import ModuleType

from ._elsewhere import tell
from ._files import File, PlainFile, View
from ._find import NoHandoff, NoMount
from ._leased import LeasedFile
from .errors import ConnectionLost, FormatError, LeaseLimit

__version__ = "0.1.0"

__all__ = ["ConnectionLost", "File", "FormatError", "LeaseLimit", "View", "open"]


def open(path: str | os.PathLike[str]) -> File:
    """Open a file to lease ranges of it. Where it cannot be leased, it is read: one
    line in the log "weightfs" says why if it lies on a mount."""
    name = os.fspath(path)
    try:
        return LeasedFile(name)
    except (NoMount, NoHandoff) as why:
        tell(name, why)
        return PlainFile(name)


def __getattr__(name: str) -> ModuleType:
    """weightfs.torch and weightfs.numpy, of which each needs its framework."""
    if name in ("numpy", "torch"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
