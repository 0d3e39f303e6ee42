"""Read safetensors files by runai_model_streamer, all in one stream, and print
a manifest: one JSON line for each tensor.

RUNAI_STREAMER_CONCURRENCY and RUNAI_STREAMER_MEMORY_LIMIT are the streamer's own.
"""
import hashlib
import json
import os
import sys

try:
    import torch
except ImportError:
    sys.path.append(os.path.join(os.path.dirname(__file__), "..", "standin"))
    import torch

from runai_model_streamer import SafetensorsStreamer


def content(tensor):
    """The tensor's bytes."""
    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy() if hasattr(tensor, "reshape") else tensor.numpy())


def main(paths):
    lines = []
    with SafetensorsStreamer() as streamer:
        streamer.stream_files(paths)
        origin = {
            tensor.name: (paths[i], tensor.dtype)
            for i, tensors in streamer.files_to_tensors_metadata.items()
            for tensor in tensors
        }
        for name, tensor in streamer.get_tensors():
            path, dtype = origin[name]
            data = content(tensor)
            lines.append(json.dumps({
                "name": name,
                "dtype": dtype,
                "shape": list(tensor.shape),
                "file": os.path.basename(path),
                "nbytes": data.nbytes,
                "digest": "sha256:" + hashlib.sha256(data).hexdigest(),
            }))
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main(sys.argv[1:])
