"""Write small checkpoints that are hard to load right, a folder for each.

By the format's description alone: no safetensors package is needed, and no
other code of weightfs is trusted.
"""
import json
import os
import random
import struct
import sys

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}


def size(dtype, shape):
    bits = BITS[dtype]
    for n in shape:
        bits *= n
    return bits // 8


def write(path, tensors, pad=0):
    """tensors: (name, dtype, shape) in file order; pad: spaces after the header."""
    header, end = {}, 0
    for name, dtype, shape in tensors:
        begin, end = end, end + size(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode() + b" " * pad
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        source = random.Random(path)
        while end > 0:
            n = min(end, 1 << 24)
            file.write(source.randbytes(n))
            end -= n


def corpus(root):
    # Every dtype behind 3 bytes and a header of every length modulo 8, so that
    # no tensor lies where its elements would be aligned.
    every = [(f"{dtype}.weight", dtype, [24, 40]) for dtype in BITS]
    for pad in range(8):
        write(f"{root}/odd{pad}/model.safetensors", [("bias", "BOOL", [3])] + every, pad)
    write(f"{root}/scalars/model.safetensors",
          [(f"{dtype}.scalar", dtype, []) for dtype in BITS if BITS[dtype] >= 8])
    write(f"{root}/zero/model.safetensors", [
        ("first", "F32", [0]), ("second", "BF16", [7, 0, 3]), ("third", "BF16", [5]),
        ("fourth", "U8", [0, 0]), ("fifth", "F64", [3]), ("last", "I8", [0]),
    ])
    write(f"{root}/large/model.safetensors", [
        ("before", "F32", [11]), ("large", "BF16", [96 << 10, 512]), ("after", "U8", [13]),
    ])
    # Data that ends on a part's border, a byte before it and a byte after it.
    for name, n in ("whole", 16 << 20), ("short", (16 << 20) - 1), ("long", (16 << 20) + 1):
        header = len(json.dumps({"t": {"dtype": "U8", "shape": [n], "data_offsets": [0, n]}})) + 8
        write(f"{root}/{name}/model.safetensors", [("t", "U8", [n - header])])
    write(f"{root}/many/model.safetensors", [
        (f"model.layers.{i // 100}.experts.{i % 100}", "BF16", [i % 7]) for i in range(100_000)])
    write(f"{root}/shards/model-00001-of-00003.safetensors", [("a", "F16", [1000, 1001])])
    write(f"{root}/shards/model-00002-of-00003.safetensors", [])
    write(f"{root}/shards/model-00003-of-00003.safetensors", [("name/with \"quotes\" é", "I32", [77])])


if __name__ == "__main__":
    corpus(sys.argv[1])
