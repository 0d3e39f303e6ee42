"""What the reference implementation says of safetensors files.

Reads files from stdin, each as 8 bytes of length (little endian) and its bytes,
and prints one line of JSON for each: {"error": TEXT}, or {"tensors": [[name,
dtype, shape, data in hex], ...], "metadata": {...} or null}.
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


with tempfile.TemporaryDirectory() as folder:
    while prefix := sys.stdin.buffer.read(8):
        content = sys.stdin.buffer.read(struct.unpack("<Q", prefix)[0])
        print(json.dumps(describe(content, os.path.join(folder, "file"))))
