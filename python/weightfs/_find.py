"""Where a file lies: the socket of its mount, and its path within the mount."""
from __future__ import annotations

import os
import re
from typing import NamedTuple

FOLDER_VARIABLE = "WEIGHTFS_HANDOFF_DIR"

NO_MOUNT = "it lies on no mount of weightfs"
NOT_SHARED = "its mount shares no memory here"

_ROOT_FOLDER = "/run/weightfs-handoff"
_FS_TYPE = "fuse.weightfs"


class Place(NamedTuple):
    socket: str
    path: str


class NoMount(Exception):
    """The file lies on no mount of weightfs, or on one that the kernel reads by itself.
    The text says which."""


class NoHandoff(Exception):
    """The file lies on a mount of weightfs that leases nothing to this process. The
    text says why."""


def find(name: str | os.PathLike[str]) -> Place:
    """Where the file called name lies. Links are followed.

    Raises NoMount, NoHandoff where its mount has no socket here, or the file's own
    OSError.
    """
    path = os.path.realpath(name, strict=True)
    device = os.stat(path).st_dev
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            inside = path_within(os.fsdecode(table.read()), f"{os.major(device)}:{os.minor(device)}", path)
    except FileNotFoundError:  # not Linux
        inside = None
    if inside is None:
        raise NoMount(NO_MOUNT)
    socket_name = f"{os.major(device)}-{os.minor(device)}.sock"
    for folder in _folders():
        socket = os.path.join(folder, socket_name)
        if os.path.lexists(socket):
            return Place(socket, inside)
    raise NoHandoff(NOT_SHARED)


def _folders() -> list[str]:
    """Where the sockets may be that this process can reach: its own and root's."""
    own = os.environ.get(FOLDER_VARIABLE)
    if not own and os.geteuid() and os.environ.get("XDG_RUNTIME_DIR"):
        own = os.path.join(os.environ["XDG_RUNTIME_DIR"], "weightfs-handoff")
    return [own, _ROOT_FOLDER] if own and own != _ROOT_FOLDER else [_ROOT_FOLDER]


def path_within(mountinfo: str, device: str, file: str) -> str | None:
    """The path of a file within our mount of a device, by the text of a mountinfo.

    The innermost mount that has the file counts, of equal ones the last.
    """
    longest, found = -1, None
    for line in mountinfo.split("\n"):
        # 36 35 0:42 / /mnt rw,noatime master:1 - fuse.weightfs s3://bucket rw
        mount, _, fs = line.partition(" - ")
        left, right = mount.split(" "), fs.split(" ")
        if len(left) < 6 or left[2] != device or right[0] != _FS_TYPE:
            continue
        root, directory = _unescape(left[3]), _unescape(left[4])
        prefix = directory.rstrip("/") + "/"
        if not file.startswith(prefix) or len(directory) < longest:
            continue
        longest = len(directory)
        found = os.path.join(root, file[len(prefix) :]).lstrip("/")
    return found


def _unescape(text: str) -> str:
    """Undo the kernel's \\040 for blanks and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
