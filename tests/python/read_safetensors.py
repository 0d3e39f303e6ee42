"""What the reference implementation says of safetensors files.

Reads files from stdin, each as 8 bytes of length (little endian) and its bytes,
and prints one line of JSON for each: {"error": TEXT}, or {"tensors": [[name,
dtype, shape, data in hex], ...], "metadata": {...} or null}; and with either
"duplicate", whether a key stands twice in the header, in an entry or in the
metadata, null where Python cannot read the header as JSON.
"""

import json
import os
import struct
import sys
import tempfile

import safetensors


def describe(content, path):
    try:
        tensors = [
            [name, t["dtype"], t["shape"], bytes(t["data"]).hex()]
            for name, t in safetensors.deserialize(content)
        ]
    except safetensors.SafetensorError as error:
        return {"error": str(error)}
    with open(path, "wb") as f:
        f.write(content)
    with safetensors.safe_open(path, "np") as f:
        return {"tensors": tensors, "metadata": f.metadata()}


class Pairs(dict):
    def __init__(self, pairs):
        super().__init__(pairs)
        self.duplicate = len(self) < len(pairs)


def duplicate(content):
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size].decode(), object_pairs_hook=Pairs)
    except ValueError:
        return None
    objects = [header, *header.values()] if isinstance(header, Pairs) else []
    return any(o.duplicate for o in objects if isinstance(o, Pairs))


with tempfile.TemporaryDirectory() as folder:
    while prefix := sys.stdin.buffer.read(8):
        content = sys.stdin.buffer.read(struct.unpack("<Q", prefix)[0])
        answer = describe(content, os.path.join(folder, "file"))
        print(json.dumps({**answer, "duplicate": duplicate(content)}))
