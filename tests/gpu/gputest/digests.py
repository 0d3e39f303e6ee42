"""Print the tensors of every safetensors file in a folder, as a manifest.

Reads the files by the format's description. Where the safetensors package is
installed and knows the dtypes, it has to agree.
"""
import hashlib
import json
import multiprocessing
import os
import struct
import sys

try:
    import safetensors
except ImportError:
    safetensors = None


def read(path):
    lines = []
    with open(path, "rb") as file:
        length, = struct.unpack("<Q", file.read(8))
        for name, tensor in json.loads(file.read(length)).items():
            if name == "__metadata__":
                continue
            begin, end = tensor["data_offsets"]
            file.seek(8 + length + begin)
            digest, left = hashlib.sha256(), end - begin
            while left > 0:
                data = file.read(min(left, 1 << 24))
                digest.update(data)
                left -= len(data)
            lines.append({
                "name": name, "dtype": tensor["dtype"], "shape": tensor["shape"],
                "file": os.path.basename(path), "offset": 8 + length + begin, "nbytes": end - begin,
                "digest": "sha256:" + digest.hexdigest(),
            })
    return lines


def agree(path, lines):
    """Holds the safetensors package, where it can be asked, to the same."""
    if safetensors is None:
        return
    try:
        with open(path, "rb") as file:
            tensors = dict(safetensors.deserialize(file.read()))
    except safetensors.SafetensorError:
        return  # a dtype newer than the package
    theirs = {name: hashlib.sha256(t["data"]).hexdigest() for name, t in tensors.items()}
    ours = {line["name"]: line["digest"].removeprefix("sha256:") for line in lines}
    if ours != theirs:
        sys.exit(f"{path}: safetensors reads it otherwise")


def main(folder):
    paths = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".safetensors"))
    with multiprocessing.Pool() as pool:
        for path, lines in zip(paths, pool.map(read, paths)):
            if sum(line["nbytes"] for line in lines) < 1 << 30:
                agree(path, lines)
            for line in lines:
                print(json.dumps(line))


if __name__ == "__main__":
    main(sys.argv[1])
