"""A checkpoint of two files with all that the format allows: make_hard.py FOLDER.

Every dtype, scalars, tensors without elements, names that look like something else,
odd offsets, tensors that cross many blocks, and thousands of small ones.
"""
import json
import math
import os
import random
import sys

BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64, "F64": 64, "I64": 64, "U64": 64, "I32": 32, "U32": 32, "F32": 32,
        "I16": 16, "U16": 16, "F16": 16, "BF16": 16, **dict.fromkeys(
            ("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)}


def write(path, tensors, random):
    header, at = {"__metadata__": {"note": "hard"}}, 0
    for name, dtype, shape in tensors:
        end = at + math.prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, dtype, shape in tensors:
            data = random.randbytes(math.prod(shape) * BITS[dtype] // 8)
            file.write(bytes(byte & 1 for byte in data) if dtype == "BOOL" else data)


def main(folder):
    os.makedirs(folder)
    choice = random.Random(26)
    first = [("first of none", "F32", [0, 5]), ("one byte", "U8", [1])]
    for dtype in BITS:
        first += [(f"{dtype} matrix", dtype, [24, 40]), (f"{dtype}/large", dtype, [1001, 3, 1000] if dtype == "F64" else [129, 1000])]
        if BITS[dtype] >= 8:
            first += [(f"{dtype} scalar", dtype, []), (f"{dtype} empty", dtype, [3, 0, 2])]
    first += [("last of none", "I8", [0])]
    names = ["a/b\\c", "with space", "\"quotes'", "nul\0", "line\nbreak", "é漢字😀", "n" * 65536, "__metadata", ".."]
    second = [(name, "F16", [choice.randint(1, 9), 7]) for name in names]
    second += [(f"layers.{i}.{'x' * (i % 7)}", choice.choice(["BF16", "F32", "I8"]), [choice.randint(0, 700)]) for i in range(5000)]
    second.insert(2000, ("middle", "U8", [9_000_001]))
    write(os.path.join(folder, "hard-00001-of-00002.safetensors"), first, choice)
    write(os.path.join(folder, "hard-00002-of-00002.safetensors"), second, choice)


main(sys.argv[1])
