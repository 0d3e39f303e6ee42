"""What POSIX promises readers, asked of the working directory: the read cases
of go-fuse's posixtest for a tree that cannot be written to, and some more.

Prints a line for each case with its result, or the errno. Nothing is printed
that differs between two file systems with the same files: no inode numbers, no
times, no sizes of directories. It needs trained/model.safetensors,
text/config.json, and many/, a folder of many files.
"""
import concurrent.futures
import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import select
import socket
import stat

LARGE, SMALL, MANY = "trained/model.safetensors", "text/config.json", "many"
PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)


def digest(content):
    return hashlib.sha256(content).hexdigest()[:16]


class Opened:
    """A descriptor, closed at the end of the block."""

    def __init__(self, path, flags=os.O_RDONLY, **kwargs):
        self.descriptor = os.open(path, flags, **kwargs)

    def __enter__(self):
        return self.descriptor

    def __exit__(self, *_):
        os.close(self.descriptor)


def attributes(status):
    return stat.S_ISREG(status.st_mode), stat.S_ISDIR(status.st_mode), status.st_size if stat.S_ISREG(status.st_mode) else None


def file_basic():
    with Opened(SMALL) as fd:
        content = os.read(fd, 1 << 20)
        return digest(content), os.read(fd, 10), os.pread(fd, 10, len(content) + 5), attributes(os.fstat(fd)), attributes(os.stat(SMALL)), attributes(os.lstat(SMALL))


def odd_reads():
    """Reads of sizes and at offsets that fit no page and no block."""
    result = hashlib.sha256()
    with Opened(LARGE) as fd:
        size = os.fstat(fd).st_size
        for i in range(200):
            result.update(os.pread(fd, 4099 * (i % 23) + 1, (i * 7_654_321) % size))
        return result.hexdigest(), digest(os.pread(fd, 1 << 20, size - 4097)), os.pread(fd, 1, size)


def vectors():
    with Opened(LARGE) as fd:
        buffers = [bytearray(n) for n in (1, 4095, 4097, 1 << 20, 3)]
        return os.preadv(fd, buffers, 12345), digest(b"".join(buffers)), os.readv(fd, buffers), digest(b"".join(buffers))


def sequential_to_the_end():
    result, size = hashlib.sha256(), 0
    with Opened(LARGE) as fd:
        while part := os.read(fd, 1_000_003):
            result.update(part)
            size += len(part)
    return size, result.hexdigest()


def backwards():
    result = hashlib.sha256()
    with Opened(LARGE) as fd:
        for off in range(os.fstat(fd).st_size - 1, 0, -3_333_333):
            result.update(os.pread(fd, 70_001, off))
    return result.hexdigest()


def seeks():
    with Opened(SMALL) as fd:
        size = os.lseek(fd, 0, os.SEEK_END)
        os.lseek(fd, -5, os.SEEK_CUR)
        end = os.read(fd, 100)
        return size, end, os.lseek(fd, size + 1000, os.SEEK_SET), os.read(fd, 1), os.lseek(fd, 3, os.SEEK_DATA), os.lseek(fd, 3, os.SEEK_HOLE)


def seek_at(whence, beyond):
    with Opened(SMALL) as fd:
        return os.lseek(fd, os.fstat(fd).st_size + beyond, whence)


def shared_offset():
    with Opened(SMALL) as fd:
        copy = os.dup(fd)
        first, second = os.read(fd, 7), os.read(copy, 7)
        os.close(copy)
        return first, second, os.lseek(fd, 0, os.SEEK_CUR)


def descriptors_are_given_back():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        with Opened(SMALL) as fd:
            os.read(fd, 1)
    return len(os.listdir("/proc/self/fd")) - before


def parallel_opens():
    def whole(_):
        with open(SMALL, "rb") as file:
            return digest(file.read())
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return sorted(set(pool.map(whole, range(500))))


def parallel_reads():
    """Threads on one descriptor, each with a stride of its own."""
    with Opened(LARGE) as fd:
        size = os.fstat(fd).st_size
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            parts = pool.map(lambda off: os.pread(fd, 300_007, off), range(0, size, 300_007))
            return digest(b"".join(parts))


def open_at():
    with Opened("text", os.O_RDONLY | os.O_DIRECTORY) as folder, Opened("config.json", dir_fd=folder) as fd:
        return digest(os.read(fd, 1 << 20)), attributes(os.stat("config.json", dir_fd=folder))


def path_only():
    with Opened(SMALL, os.O_PATH) as fd, Opened(f"/proc/self/fd/{fd}") as again:
        return attributes(os.fstat(fd)), digest(os.read(again, 1 << 20))


def opened_again():
    with Opened(SMALL) as fd, Opened(f"/proc/self/fd/{fd}") as again:
        return os.read(fd, 3), os.read(again, 3)


class Entry(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_ushort), ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]


def directory_calls():
    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    for call in ("readdir", "rewinddir", "closedir", "telldir"):
        getattr(libc, call).argtypes = [ctypes.c_void_p]
    libc.telldir.restype = ctypes.c_long
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    return libc


def entries(calls, folder):
    while address := calls.readdir(folder):
        entry = Entry.from_address(address)
        yield entry.name, entry.type


def directory_seek():
    """From every place that telldir names, the rest is read again alike."""
    calls = directory_calls()
    folder = calls.opendir(MANY.encode())
    places, names = [], []
    for name, _ in entries(calls, folder):
        names.append(name)
        places.append(calls.telldir(folder))
    same = []
    for i in range(0, len(names), 37):
        calls.seekdir(folder, places[i])
        same.append([name for name, _ in entries(calls, folder)] == names[i + 1:])
    calls.rewinddir(folder)
    again = [name for name, _ in entries(calls, folder)]
    calls.closedir(folder)
    return all(same), again == names, len(names), digest(b"".join(sorted(names)))


def directory_entries():
    calls = directory_calls()
    folder = calls.opendir(b".")
    found = sorted(entries(calls, folder))
    calls.closedir(folder)
    return found


def listing_agrees():
    """What a listing says of entries is what stat says of each."""
    with os.scandir(MANY) as found:
        return sorted((e.name, e.is_file(), e.stat().st_size, e.inode() == os.stat(e.path).st_ino) for e in found)[::50]


def dots():
    return os.path.samefile("text/..", "."), os.path.samefile("text/.", "text"), os.path.samefile("text//config.json", SMALL), os.stat(SMALL).st_ino == os.stat(SMALL).st_ino


def map_tail():
    with Opened(SMALL) as fd:
        size = os.fstat(fd).st_size
        length = -(-size // PAGE) * PAGE
        libc.mmap.restype = ctypes.c_void_p
        address = libc.mmap(None, ctypes.c_size_t(length), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
        content = ctypes.string_at(address, length)
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length))
        return digest(content[:size]), content[size:].count(0) == length - size


def maps():
    with open(LARGE, "rb") as file:
        results = []
        for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
            with mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ) as view:
                view.madvise(mmap.MADV_RANDOM)
                results.append(digest(b"".join(view[i:i + 10] for i in range(len(view) - 10, 0, -1_234_567))))
                view.madvise(mmap.MADV_WILLNEED, 0, 8 << 20)
                results.append(digest(view[:8 << 20]))
        return results


def map_offset():
    with open(LARGE, "rb") as file:
        with mmap.mmap(file.fileno(), 100_000, prot=mmap.PROT_READ, offset=mmap.ALLOCATIONGRANULARITY * 999) as view:
            return digest(view[:])


def direct():
    """O_DIRECT, whole pages, over the end."""
    with Opened(LARGE, os.O_RDONLY | os.O_DIRECT) as fd, mmap.mmap(-1, 1 << 20) as buffer:
        size = os.fstat(fd).st_size
        start = (size - 300_000) // PAGE * PAGE
        n = os.preadv(fd, [buffer], start)
        return n, digest(buffer[:n]), os.preadv(fd, [buffer], -(-size // PAGE) * PAGE)


def direct_and_cached():
    with Opened(LARGE) as cached, Opened(LARGE, os.O_RDONLY | os.O_DIRECT) as fd, mmap.mmap(-1, 1 << 20) as buffer:
        return [(os.preadv(fd, [buffer], off), digest(buffer[:]) == digest(os.pread(cached, 1 << 20, off))) for off in range(0, 32 << 20, 5 << 20)]


def sent():
    """sendfile to a socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs, Opened(SMALL) as fd:
        n = os.sendfile(ours.fileno(), fd, 5, 400)
        return n, digest(theirs.recv(1000))


def spliced():
    reader, writer = os.pipe()
    with Opened(LARGE) as fd:
        n = os.splice(fd, writer, 5000, offset_src=77_777)
        content = os.read(reader, n)
    os.close(reader), os.close(writer)
    return n, digest(content)


def polled():
    with Opened(SMALL) as fd:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return [event for _, event in poll.poll(0)]


def advised():
    with Opened(LARGE) as fd:
        for advice in (os.POSIX_FADV_SEQUENTIAL, os.POSIX_FADV_WILLNEED, os.POSIX_FADV_RANDOM, os.POSIX_FADV_DONTNEED):
            os.posix_fadvise(fd, 0, 4 << 20, advice)
        return digest(os.pread(fd, 4 << 20, 0))


def synced():
    with Opened(SMALL) as fd:
        os.fsync(fd), os.fdatasync(fd)


def locks():
    """Locks of two opens exclude each other."""
    with Opened(SMALL) as first, Opened(SMALL) as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(first, fcntl.LOCK_UN)
            fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return "excluded, then free"
    return "both"


def read_folder():
    with Opened("text", os.O_RDONLY) as fd:
        return os.read(fd, 10)


CASES = {
    "file basic": file_basic,
    "odd reads": odd_reads,
    "vectors": vectors,
    "sequential to the end": sequential_to_the_end,
    "backwards": backwards,
    "seeks": seeks,
    "seek data at the end": lambda: seek_at(os.SEEK_DATA, 0),
    "seek hole at the end": lambda: seek_at(os.SEEK_HOLE, 0),
    "seek data beyond the end": lambda: seek_at(os.SEEK_DATA, 1),
    "shared offset": shared_offset,
    "descriptors are given back": descriptors_are_given_back,
    "parallel opens": parallel_opens,
    "parallel reads": parallel_reads,
    "openat": open_at,
    "O_PATH": path_only,
    "opened again": opened_again,
    "directory seek": directory_seek,
    "directory entries": directory_entries,
    "listing agrees": listing_agrees,
    "dots": dots,
    "map tail": map_tail,
    "maps": maps,
    "map offset": map_offset,
    "direct": direct,
    "direct and cached": direct_and_cached,
    "sendfile": sent,
    "splice": spliced,
    "poll": polled,
    "fadvise": advised,
    "fsync": synced,
    "locks": locks,
    "access": lambda: (os.access(SMALL, os.R_OK), os.access("text", os.X_OK), os.access("nothing", os.F_OK)),
    "longest name": lambda: os.statvfs(".").f_namemax,
    "missing": lambda: os.stat("nothing"),
    "missing, in a missing folder": lambda: os.open("nothing/nothing", os.O_RDONLY),
    "below a file": lambda: os.stat(SMALL + "/x"),
    "slash after a file": lambda: os.stat(SMALL + "/"),
    "name too long": lambda: os.stat("x" * 256),
    "no name": lambda: os.stat(""),
    "name with strange bytes": lambda: os.stat(b"\xff\xfe\n"),
    "readlink of a file": lambda: os.readlink(SMALL),
    "listing of a file": lambda: os.listdir(SMALL),
    "read of a folder": read_folder,
    "attribute that is not there": lambda: os.getxattr(SMALL, "user.none"),
    "attributes": lambda: [name for name in os.listxattr(SMALL) if name.startswith("user.")],
}


def outcome(case):
    try:
        return case()
    except OSError as error:
        return errno.errorcode[error.errno]


for name, case in CASES.items():
    print(f"{name}: {outcome(case)}")
