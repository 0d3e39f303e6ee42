"""What tools try in a model's folder beside reading it, and the errno that each
attempt must get. Says which got another one, and fails then.

The working directory must have a file text/config.json and a folder text.
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


ATTEMPTS = [
    ("open O_RDWR", "EROFS", lambda: opened(os.O_RDWR)),
    ("open O_WRONLY", "EROFS", lambda: opened(os.O_WRONLY)),
    ("open O_TRUNC", "EROFS", lambda: opened(os.O_RDONLY | os.O_TRUNC)),
    ("open O_APPEND", "EROFS", lambda: opened(os.O_WRONLY | os.O_APPEND)),
    ("open O_CREAT of a lock file", "EROFS", lambda: opened(os.O_RDWR | os.O_CREAT, FOLDER + "/.lock")),
    ("open O_CREAT|O_EXCL", "EROFS", lambda: opened(os.O_RDWR | os.O_CREAT | os.O_EXCL, FOLDER + "/tmp123")),
    ("open O_CREAT of a file that is there", "ok", lambda: opened(os.O_RDONLY | os.O_CREAT)),
    ("open O_TMPFILE", "EROFS", lambda: opened(os.O_RDWR | os.O_TMPFILE, FOLDER)),
    ("open O_NOATIME", "ok", lambda: opened(os.O_RDONLY | os.O_NOATIME)),
    ("open O_DIRECTORY of a file", "ENOTDIR", lambda: opened(os.O_RDONLY | os.O_DIRECTORY)),
    ("open O_RDWR of a folder", "EISDIR", lambda: opened(os.O_RDWR, FOLDER)),
    ("mkdir .locks", "EROFS", lambda: os.mkdir(".locks")),
    ("mkdir __pycache__", "EROFS", lambda: os.mkdir(FOLDER + "/__pycache__")),
    ("mkdir of a folder that is there", "EEXIST", lambda: os.mkdir(FOLDER)),
    ("makedirs exist_ok", "ok", lambda: os.makedirs(FOLDER, exist_ok=True)),
    ("mknod", "EROFS", lambda: os.mkfifo(FOLDER + "/fifo")),
    ("rename", "EROFS", lambda: os.rename(FILE, FILE + ".bak")),
    ("link", "EROFS", lambda: os.link(FILE, FILE + ".link")),
    ("symlink", "EROFS", lambda: os.symlink(FILE, FOLDER + "/symlink")),
    ("unlink", "EROFS", lambda: os.unlink(FILE)),
    ("rmdir", "EROFS", lambda: os.rmdir(FOLDER)),
    ("truncate", "EROFS", lambda: os.truncate(FILE, 0)),
    ("fallocate", "EBADF", allocated),
    ("chmod", "EROFS", lambda: os.chmod(FILE, 0o600)),
    ("chown", "EROFS", lambda: os.chown(FILE, 1, 1)),
    ("utime", "EROFS", lambda: os.utime(FILE)),
    ("setxattr", "EROFS", lambda: os.setxattr(FILE, "user.a", b"1")),
    ("access W_OK", "EROFS", lambda: accessed(os.W_OK)),
    ("access R_OK", "ok", lambda: accessed(os.R_OK)),
    ("flock LOCK_SH", "ok", lambda: locked(fcntl.LOCK_SH)),
    ("flock LOCK_EX", "ok", lambda: locked(fcntl.LOCK_EX)),
    ("flock LOCK_EX, held by another", "EAGAIN", locked_twice),
    ("lockf of reading", "ok", lambda: record_locked(fcntl.LOCK_SH)),
    ("lockf of writing", "EBADF", lambda: record_locked(fcntl.LOCK_EX)),
    ("mmap shared, read", "ok", lambda: mapped(mmap.MAP_SHARED, mmap.PROT_READ)),
    ("mmap shared, write", "EACCES", lambda: mapped(mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)),
    ("mmap private, written", "ok", written_private_map),
    ("filelock.FileLock", "EROFS", lambda: soft_locked(filelock.FileLock)),
    ("filelock.SoftFileLock", "EROFS", lambda: soft_locked(filelock.SoftFileLock)),
]


def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, "other")
    return "ok"


wrong = [f"{name}: {got}, not {want}" for name, want, attempt in ATTEMPTS if (got := outcome(attempt)) != want]
sys.exit("\n".join(wrong) or None)
