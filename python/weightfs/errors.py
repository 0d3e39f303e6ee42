"""What goes wrong. All of it names the file, and the tensor and the range where
there is one."""
from __future__ import annotations

import errno
import os


class FormatError(ValueError):
    """The file is no safetensors file, or a broken one."""


class ConnectionLost(ConnectionError):
    """The connection to mountd has ended. Where bytes are given back: it cut this process
    off, and they may have been wrong. Elsewhere it may have been stopped, replaced or
    killed, and cannot be asked for more."""


class LeaseLimit(OSError):
    """This process holds so many leases that the next one would never come."""


def os_error(number: int, detail: str, path: str) -> OSError:
    """The error of an errno, of the class that Python has for it."""
    return OSError(number, f"{os.strerror(number)}: {detail}" if detail else os.strerror(number), path)


def lost(detail: str, path: str | None = None) -> ConnectionLost:
    text = f"the connection to mountd has ended: {detail}"
    return ConnectionLost(errno.ECONNRESET, text, path) if path else ConnectionLost(errno.ECONNRESET, text)


def about(error: OSError, what: str, path: str) -> OSError:
    """The same error, with what was being read, and of which file."""
    text = error.strerror or str(error)
    return type(error)(error.errno or errno.EIO, f"{what}: {text}", path)
