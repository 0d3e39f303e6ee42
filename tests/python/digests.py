"""Print one JSON line for each tensor of the safetensors files given.

The tensors are read by the safetensors package, as an opinion independent of
ours. deserialize is used, since it knows every dtype, which numpy does not.
"""
import hashlib
import json
import os
import sys

import safetensors


def main(paths):
    for path in paths:
        with open(path, "rb") as file:
            tensors = safetensors.deserialize(file.read())
        for name, tensor in tensors:
            print(json.dumps({
                "name": name,
                "dtype": tensor["dtype"],
                "shape": tensor["shape"],
                "file": os.path.basename(path),
                "nbytes": len(tensor["data"]),
                "digest": "sha256:" + hashlib.sha256(tensor["data"]).hexdigest(),
            }))


if __name__ == "__main__":
    main(sys.argv[1:])
