"""The package weightfs, each way of reading a function: weights.py NAME ARGUMENT...

What waits for a line of its input says "ready" before. PYTHONPATH has the package.
"""
import ctypes
import gc
import hashlib
import json
import os
import random
import select
import socket
import sys

import weightfs
from weightfs._header import BITS, read_header
from weightfs._tensors import as_bytes


def digest(content):
    return hashlib.sha256(content).hexdigest()


def pause(what="ready"):
    print(what, flush=True)
    sys.stdin.readline()


def flavour(name):
    """weightfs.numpy, or weightfs.torch over the stand-in where there is no torch."""
    if name == "torch":
        sys.path.append(os.path.join(os.path.dirname(__file__), "..", "standin"))
    return getattr(weightfs, name)


def content(tensor):
    """The bytes of a tensor, whatever its dtype."""
    if hasattr(tensor, "tobytes"):
        return tensor.tobytes()
    return bytes(tensor.reshape(-1).view(flavour("torch").torch.uint8).numpy() if hasattr(tensor, "reshape") else tensor.numpy())


def contents(path):
    """The digest of each tensor of a file, by read."""
    with open(path, "rb") as file:
        entries = read_header(path, os.fstat(file.fileno()).st_size, lambda offset, n: (file.seek(offset), file.read(n))[1]).entries
        return {e.name: digest((file.seek(e.begin), file.read(e.end - e.begin))[1]) for e in entries}


def manifest(kind, limit, threads, *paths):
    """All tensors by one iterator over all files: a manifest, in their order."""
    headers = {}
    for path in paths:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            for entry in read_header(path, size, lambda offset, n: (file.seek(offset), file.read(n))[1]).entries:
                headers[entry.name] = path, entry
    order = list(headers)
    for i, (name, tensor) in enumerate(flavour(kind).iterate(paths, memory_limit=int(limit), concurrency=int(threads))):
        path, entry = headers[name]
        assert name == order[i], f"{name} is number {i}"
        assert list(tensor.shape) in (list(entry.shape), as_bytes(entry.dtype, entry.shape)), (name, tensor.shape)
        data = content(tensor)
        print(json.dumps({"name": name, "dtype": entry.dtype, "shape": entry.shape, "file": os.path.basename(path),
                          "nbytes": len(data), "digest": "sha256:" + digest(data)}))


def load(path):
    """load_file, which keeps all, printed as witness.py does."""
    for name, array in sorted(weightfs.numpy.load_file(path).items()):
        print(name, array.dtype, array.shape, digest(array.tobytes()))


def indices(shape):
    """Some ways to take a part of a tensor, the same for the same shape."""
    choice = random.Random(str(shape))
    yield ...
    for _ in range(12):
        index = []
        for n in shape[: choice.randint(0, len(shape))]:
            a, b = sorted(choice.sample(range(n + 1), 2))
            index.append(choice.choice([slice(a, b), slice(None), slice(a, None)]))
        yield tuple(index) if len(index) != 1 else index[0]
    if len(shape) == 2 and all(shape):
        yield from ((..., slice(0, 1)), slice(0, 1))


def slices(reader, path):
    """Parts of each tensor, by the package or by safetensors."""
    if reader == "safetensors":
        import safetensors
        opened = safetensors.safe_open(path, framework="np")
    else:
        opened = weightfs.numpy.safe_open(path)
        assert isinstance(opened, weightfs._tensors.SafeFile), "it is not leased"
    with opened as file:
        print(file.metadata(), sorted(file.keys()))
        for name in sorted(file.keys()):
            part = file.get_slice(name)
            print(name, part.get_dtype(), list(part.get_shape()), digest(file.get_tensor(name).tobytes()))
            for index in indices(part.get_shape()):
                taken = part[index]
                print(index, list(taken.shape), digest(taken.tobytes()))


def one_row(path, name):
    """One row of one tensor."""
    with weightfs.numpy.safe_open(path) as file:
        print(digest(file.get_slice(name)[0:1].tobytes()))


def views(path):
    """Ranges of a file, leased: the digest of all of it, piece by piece."""
    sums = hashlib.sha256()
    with weightfs.open(path) as file:
        assert file.leased, "it is not leased"
        at, step = 0, 1_000_003
        while at < len(file):
            with file[at : at + step] as view:
                for piece in view.pieces:
                    assert piece.readonly
                    sums.update(piece)
                at += len(view)
        assert file.read() == b"".join(file.read(a, 4_000_001) for a in range(0, len(file), 4_000_001))
        assert not len(file[len(file) :]) and file.read(len(file) + 5) == b""
        check_references(file)
        check_limit(file)
    print(sums.hexdigest())


def check_references(file):
    """Bytes that are still referred to are not given back."""
    import numpy
    view = file.view(10, 5000)
    array = numpy.frombuffer(view.pieces[0], numpy.uint8)
    for _ in range(2):
        try:
            view.release()
        except BufferError as error:
            assert file.path in str(error) and "[10,5010)" in str(error), error
        else:
            raise AssertionError("released under an array")
    assert array[0] == file.read(10, 1)[0]
    del array
    gc.collect()
    view.release()
    view.release()


def check_limit(file):
    """Who keeps all that may be kept is told, and can go on after he has released some."""
    kept = []
    try:
        while True:
            kept.append(file.view(0, file.longest_view))
    except weightfs.LeaseLimit as error:
        assert file.path in str(error) and "are kept leased" in str(error), error
    assert kept
    for view in kept:
        view.release()
    assert len(file.read(0, 5_000_000)) == 5_000_000


def replaced(path, first, second):
    """Two tensors of an open file, which is replaced in between."""
    with weightfs.numpy.safe_open(path) as file:
        file.get_slice(first)[0:1]
        pause()
        try:
            file.get_tensor(second)
        except OSError as error:
            print(type(error).__name__, error.errno, error, flush=True)
    pause("again")
    print(digest(weightfs.numpy.load_file(path)[second].tobytes()))


def paced(path):
    """All tensors, the second of them after a pause."""
    for number, _ in enumerate(weightfs.numpy.iterate(path, memory_limit=1 << 20)):
        if not number:
            pause()
    print(number + 1, "tensors")


def lost(path):
    """A daemon that ends while tensors are taken."""
    tensors = weightfs.numpy.iterate(path, memory_limit=1 << 20)
    next(tensors)
    pause()
    try:
        for _ in tensors:
            pass
    except weightfs.ConnectionLost as error:
        print("lost:", error)
    try:
        weightfs.numpy.load_file(path)
    except OSError as error:
        print("then:", error)


def shut_down():
    """End the connection, and have mountd use its memory for others."""
    for connection in list(weightfs._connection.connections._users):
        connection._socket.shutdown(socket.SHUT_RDWR)
        select.select([connection._reused], [], [])


def survives(path):
    """A connection that ends, where the mount does not: every byte is right."""
    want, got = contents(path), {}
    for name, tensor in weightfs.numpy.iterate(path, memory_limit=1 << 20):
        if not got:
            shut_down()
        got[name] = digest(tensor.tobytes())
    assert got == want, [name for name in want if got.get(name) != want[name]]
    print("ok")


def hold(path):
    """A lease that is kept."""
    with weightfs.open(path) as file, file.view(0, file.longest_view):
        pause()


def given_up(path):
    """Iterators that nobody takes to the end, and a fork."""
    for _ in range(3):
        for _ in weightfs.numpy.iterate([path, path]):
            break
    file = weightfs.open(path)
    before = file.read(0, 1000)
    child = os.fork()
    if not child:
        with weightfs.open(path) as own:  # as another client; its parent's file it reads from the mount
            os._exit(0 if own.leased and own.read(0, 1000) == before == file.read(0, 1000) else 3)
    assert os.waitpid(child, 0)[1] == 0
    assert file.read(0, 1000) == before
    file.close()
    print("ok")


def mapping(tensor):
    """Where a tensor begins: permissions, inode, and by how much its pages lie otherwise to
    huge ones than in the file."""
    with open("/proc/self/maps") as lines:
        for span, permissions, offset, _, inode, *_ in map(str.split, lines):
            begin, end = (int(part, 16) for part in span.split("-"))
            if begin <= tensor.data_ptr() < end:
                return permissions, inode, (begin - int(offset, 16)) % (2 << 20)
    raise AssertionError(f"{tensor.data_ptr():#x} is not mapped at all")


def is_mapped(tensor):
    """Whether a tensor lies in a mapping of a file."""
    permissions, inode, _ = mapping(tensor)
    return permissions == "rw-p" and inode != "0"  # buffers for copies are shared, or of no file


def mapped_tensors(path, **arguments):
    """Tensors that need not be copied, and whether that is so."""
    for name, tensor in flavour("torch").iterate(path, mapped=True, **arguments):
        yield name, tensor, len(content(tensor)) > 0 and is_mapped(tensor)


def mapped(path, threads):
    """Tensors that are mapped: every byte is right. They may be written, which nobody sees."""
    want, number = contents(path), 0
    for name, tensor, is_leased in mapped_tensors(path, concurrency=int(threads)):
        assert digest(content(tensor)) == want.pop(name), name
        if is_leased:
            number += 1
            assert threads != "1" or not mapping(tensor)[2], f"{name} cannot be mapped in huge pages"
            ctypes.memset(tensor.data_ptr(), number, 100_000)
            assert content(tensor)[:100_000] == bytes([number]) * 100_000
    assert not want, want
    got = {name: digest(content(tensor)) for name, tensor, _ in mapped_tensors(path)}
    assert got == contents(path), "a write was seen"
    pause(f"{number} mapped")


def kept(path):
    """All tensors, which are kept."""
    want, tensors, leased, copied = contents(path), [], 0, 0
    for name, tensor, is_leased in mapped_tensors(path):
        tensors.append((name, tensor))
        size = len(content(tensor))
        leased, copied = leased + size * is_leased, copied + size * (not is_leased and size >= 1 << 20)
    pause(f"{leased} {copied}")
    wrong = [name for name, tensor in tensors if digest(content(tensor)) != want[name]]
    assert not wrong, wrong
    print("ok")


def paced_mapped(path):
    """All tensors, after a pause with one that is mapped."""
    want, number = contents(path), 0
    for name, tensor, is_leased in mapped_tensors(path):
        number += is_leased
        if is_leased and number == 1:
            pause()
        assert digest(content(tensor)) == want[name], name
    print("ok")


def crowded(path):
    """All tensors, while others hold so much that one of them takes all of the share."""
    from weightfs._connection import Connection
    from weightfs._find import find
    weightfs._mapped._PATIENCE = 1e6  # nothing is given back for being old
    place = find(path)
    others = [Connection(place.socket).open(place.path).want([(0, 1)])[0] for _ in range(10)]
    for other in others:
        other.wait()
    want, number = contents(path), 0
    for name, tensor, is_leased in mapped_tensors(path):
        number += is_leased
        assert digest(content(tensor)) == want.pop(name), name
    assert not want, want
    print(f"{number} mapped")


def lost_mapped(path):
    """A connection that is cut off while the last tensor is mapped, which was handed out."""
    weightfs._mapped._PATIENCE = 1e6  # it is not copied meanwhile
    want, chosen = contents(path), [name for name, _, is_leased in mapped_tensors(path) if is_leased][-1]
    try:
        for name, tensor, _ in mapped_tensors(path):
            if name == chosen:
                shut_down()
            assert digest(content(tensor)) == want[name]
    except weightfs.ConnectionLost as error:
        print("lost:", error)
    else:
        print("no error")


def replaced_mapped(path):
    """A mountd that another one follows while tensors are mapped, of which one is kept."""
    weightfs._mapped._PATIENCE = 1e6  # it is not copied meanwhile
    want, kept = contents(path), None
    for name, tensor, is_leased in mapped_tensors(path):
        if is_leased and kept is None:
            kept = name, tensor
            pause()
        assert digest(content(tensor)) == want.pop(name), name
    assert not want, want
    name, tensor = kept
    assert digest(content(tensor)) == contents(path)[name], name
    print("ok")


def lost_ahead(path):
    """A connection that ends while a tensor is mapped that was not handed out yet."""
    original, lost = weightfs._mapped.MappedTensors.hand_out, []

    def hand_out(owner, tensor):
        if tensor.leases and not lost:
            lost.append(tensor.entry.name)
            shut_down()
            with tensor.connection.changed:
                tensor.connection.changed.wait_for(lambda: tensor.connection.ended is not None)
            # As where mountd has used its memory for something else since.
            ctypes.memset(tensor.window.address + tensor.before, 77, 100_000)
        return original(owner, tensor)

    weightfs._mapped.MappedTensors.hand_out = hand_out
    got = {name: digest(content(tensor)) for name, tensor, _ in mapped_tensors(path)}
    assert lost and got == contents(path), lost
    print("ok")


def reuse(*paths):
    """Memory of tensors that were dropped is used again; of one that is kept it is not."""
    addresses, count, kept, was = set(), 0, None, None
    for _, array in weightfs.numpy.iterate(paths, memory_limit=8 << 20):
        if array.nbytes < 1 << 20:
            continue
        if kept is None:
            kept, was = array, digest(array.tobytes())
        count += 1
        addresses.add(array.ctypes.data)
    assert digest(kept.tobytes()) == was, "a tensor that is kept was overwritten"
    print(len(addresses) < count / 2, count > 20)


def headers():
    """The header's checks against the reference implementation's, on broken files."""
    import safetensors
    choice = random.Random(1)
    accepted = refused = 0
    for number in range(4000):
        made = broken(choice)
        try:
            tensors = {name: (t["dtype"], t["shape"], bytes(t["data"])) for name, t in safetensors.deserialize(made)}
        except safetensors.SafetensorError:
            tensors = None
        try:
            header = read_header("file", len(made), lambda offset, n: made[offset : offset + n])
            ours = {e.name: (e.dtype, list(e.shape), made[e.begin : e.end]) for e in header.entries}
        except weightfs.FormatError as error:
            assert "file" in str(error)
            ours = None
            if "stands twice" in str(error):
                continue
        assert ours == tensors, (number, made, ours, tensors)
        accepted += ours is not None
        refused += ours is None
    print(accepted > 300, refused > 300)


def broken(choice):
    """A small file with one thing changed, or none."""
    entries, at = {"__metadata__": {"format": "pt"}}, 0
    for name in choice.sample(["a", "b/c", "é\n\"'", "", "d" * 300, " "], choice.randint(0, 4)):
        dtype = choice.choice(list(BITS))
        shape = choice.choice([[], [0], [8], [2, 4], [3, 8], [8, 0, 3]])
        bits = BITS[dtype]
        for n in shape:
            bits *= n
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + -(-bits // 8)]}
        at += -(-bits // 8)
    if len(entries) > 1 and choice.random() < 0.4:
        entry = entries[choice.choice([name for name in entries if name != "__metadata__"])]
        change = choice.randrange(6)
        if change == 0:
            entry["data_offsets"][choice.randrange(2)] += choice.choice([-1, 1, 1 << 62])
        elif change == 1:
            entry["shape"] = choice.choice([[1 << 63, 4], [1.5], [-1], "8", [True], [1 << 64], [8, 8], None])
        elif change == 2:
            entry["dtype"] = choice.choice(["F33", "f32", 4, None])
        elif change == 3:
            del entry[choice.choice(list(entry))]
        elif change == 4:
            entry["more"] = [1, {"x": None}]
        else:
            entries["__metadata__"] = choice.choice([{}, {"a": 1}, [], None, "x", {"a": None}])
    text = json.dumps(entries, ensure_ascii=choice.random() < 0.5).encode()
    text = choice.choice([text, b" " + text + b" \n", text + b" " * (-len(text) % 8)])
    if choice.random() < 0.3:
        where = choice.randrange(len(text))
        text = choice.choice([text[:where], text[:where] + bytes([choice.randrange(256)]) + text[where + 1 :], text + b"\0", b"", b"null", b"[]"])
    made = len(text).to_bytes(8, "little") + text + random.Random(at).randbytes(at)
    if choice.random() < 0.2:
        made = choice.choice([made[:-1], made + b"x", made[:7], (1 << 62).to_bytes(8, "little") + made[8:], b""])
    return made


def memory():
    """Buffers alone: what is dropped is found again by what fits it, within a limit."""
    from weightfs._memory import Buffers
    buffers = Buffers(16 << 20)
    first = buffers.take(8 << 20)
    address = ctypes.addressof(first)
    view = memoryview(first)
    del first
    other = buffers.take(8 << 20)
    assert ctypes.addressof(other) != address, "it is still referred to"
    del view
    assert ctypes.addressof(buffers.take(7 << 20)) == address
    assert ctypes.addressof(buffers.take(1 << 20)) != address, "a megabyte keeps eight"
    many = [buffers.take(8 << 20) for _ in range(5)]
    del many
    buffers.take(1 << 20)
    assert sum(map(len, buffers._free)) <= 17 << 20
    print("ok")


def options():
    """What vLLM's extra config may say: each value, or the error that names its key."""
    from weightfs._options import parse
    for text in ({}, {"concurrency": 16, "memory_limit": 5368709120}, {"memory_limit": 0}, {"memory_limit": -1}, {"distributed": True}):
        print(text, *parse("weightfs", text))
    print(*parse("weightfs_sharded", {"pattern": "p{pp_rank}-t{tp_rank}-{part}.safetensors"}))
    for form, extra in (
        ("weightfs", []), ("weightfs", {"concurency": 1}), ("weightfs", {"pattern": "{rank}{part}"}), ("weightfs_sharded", {"num_threads": 1, "x": 2}),
        *(("weightfs", {"concurrency": value}) for value in (0, -1, 1.5, "16", True)),
        *(("weightfs", {"memory_limit": value}) for value in (-2, 1e9, "5Gi", None)), ("weightfs", {"distributed": 1}),
        *(("weightfs_sharded", {"pattern": value}) for value in (7, "", "model-{rank}", "model-{part}", "{rank}-{part}-{x}", "{rank}-{part", "{}{rank}{part}")),
    ):
        try:
            parse(form, extra)
        except ValueError as error:
            print(error)
        else:
            raise AssertionError(f"{form}: {extra} is taken")


def why_not(*paths):
    """Why each file is not leased."""
    from weightfs._elsewhere import why_not_leased
    for path in paths:
        print(why_not_leased(path))


globals()[sys.argv[1]](*sys.argv[2:])
