"""What tools try in a model's folder beside reading it, and the errno of each.

Prints a line for each attempt: its name, and the errno's name or "ok". The
working directory must have a file text/config.json and a folder text.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import sys

import filelock

FILE, FOLDER = "text/config.json", "text"
libc = ctypes.CDLL(None, use_errno=True)


def opened(flags, path=FILE):
    os.close(os.open(path, flags, 0o644))


def locked(operation, flags=os.O_RDONLY):
    descriptor = os.open(FILE, flags)
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def locked_twice():
    with open(FILE, "rb") as first, open(FILE, "rb") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


def record_locked(operation):
    with open(FILE, "rb") as file:
        fcntl.lockf(file, operation | fcntl.LOCK_NB)


def mapped(flags, protection):
    with open(FILE, "rb") as file:
        mmap.mmap(file.fileno(), 0, flags=flags, prot=protection).close()


def written_private_map():
    with open(FILE, "rb") as file:
        with mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view:
            view[0] ^= 1
        if file.read(1) != b"{":
            raise OSError(errno.EIO, "a private change is visible")


def allocated():
    with open(FILE, "rb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)


def accessed(mode):
    if libc.access(FILE.encode(), mode):
        raise OSError(ctypes.get_errno(), "access")


def soft_locked(kind):
    with kind(os.path.join(FOLDER, "model.lock"), timeout=0):
        pass


ATTEMPTS = {
    "open O_RDWR": lambda: opened(os.O_RDWR),
    "open O_WRONLY": lambda: opened(os.O_WRONLY),
    "open O_TRUNC": lambda: opened(os.O_RDONLY | os.O_TRUNC),
    "open O_APPEND": lambda: opened(os.O_WRONLY | os.O_APPEND),
    "open O_CREAT of a lock file": lambda: opened(os.O_RDWR | os.O_CREAT, FOLDER + "/.lock"),
    "open O_CREAT|O_EXCL": lambda: opened(os.O_RDWR | os.O_CREAT | os.O_EXCL, FOLDER + "/tmp123"),
    "open O_CREAT of a file that is there": lambda: opened(os.O_RDONLY | os.O_CREAT),
    "open O_TMPFILE": lambda: opened(os.O_RDWR | os.O_TMPFILE, FOLDER),
    "open O_NOATIME": lambda: opened(os.O_RDONLY | os.O_NOATIME),
    "open O_DIRECTORY of a file": lambda: opened(os.O_RDONLY | os.O_DIRECTORY),
    "open O_RDWR of a folder": lambda: opened(os.O_RDWR, FOLDER),
    "mkdir .locks": lambda: os.mkdir(".locks"),
    "mkdir __pycache__": lambda: os.mkdir(FOLDER + "/__pycache__"),
    "mkdir of a folder that is there": lambda: os.mkdir(FOLDER),
    "makedirs exist_ok": lambda: os.makedirs(FOLDER, exist_ok=True),
    "mknod": lambda: os.mkfifo(FOLDER + "/fifo"),
    "rename": lambda: os.rename(FILE, FILE + ".bak"),
    "link": lambda: os.link(FILE, FILE + ".link"),
    "symlink": lambda: os.symlink(FILE, FOLDER + "/symlink"),
    "unlink": lambda: os.unlink(FILE),
    "rmdir": lambda: os.rmdir(FOLDER),
    "truncate": lambda: os.truncate(FILE, 0),
    "fallocate": allocated,
    "chmod": lambda: os.chmod(FILE, 0o600),
    "chown": lambda: os.chown(FILE, 1, 1),
    "utime": lambda: os.utime(FILE),
    "setxattr": lambda: os.setxattr(FILE, "user.a", b"1"),
    "access W_OK": lambda: accessed(os.W_OK),
    "access R_OK": lambda: accessed(os.R_OK),
    "flock LOCK_SH": lambda: locked(fcntl.LOCK_SH),
    "flock LOCK_EX": lambda: locked(fcntl.LOCK_EX),
    "flock LOCK_EX, held by another": locked_twice,
    "lockf of reading": lambda: record_locked(fcntl.LOCK_SH),
    "lockf of writing": lambda: record_locked(fcntl.LOCK_EX),
    "mmap shared, read": lambda: mapped(mmap.MAP_SHARED, mmap.PROT_READ),
    "mmap shared, write": lambda: mapped(mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
    "mmap private, written": written_private_map,
    "filelock.FileLock": lambda: soft_locked(filelock.FileLock),
    "filelock.SoftFileLock": lambda: soft_locked(filelock.SoftFileLock),
}


def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"


for name, attempt in ATTEMPTS.items():
    print(f"{name}: {outcome(attempt)}")
