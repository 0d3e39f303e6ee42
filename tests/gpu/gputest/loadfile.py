"""Time the safetensors package's own load_file onto a GPU.

Prints one line of JSON, or nothing where torch, safetensors or a GPU is missing.
"""
import json
import os
import sys
import time

try:
    import torch
    from safetensors.torch import load_file
except ImportError:
    sys.exit(0)
device, paths = sys.argv[1], sys.argv[2:]
if not torch.cuda.is_available():
    sys.exit(0)
torch.ones(1, device=device)  # the context is not what is measured
torch.cuda.synchronize()
start = time.perf_counter()
models = [load_file(path, device=device) for path in paths]
torch.cuda.synchronize()
seconds = time.perf_counter() - start
print(json.dumps({"bytes": sum(map(os.path.getsize, paths)), "seconds": seconds}))
