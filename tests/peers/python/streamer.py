"""Load a safetensors file by runai_model_streamer; print its bytes."""
import os
import sys

try:
    import torch  # noqa: F401: the streamer's
except ImportError:
    sys.path.append(os.path.join(os.path.dirname(__file__), "..", "..", "clients", "standin"))

from runai_model_streamer import SafetensorsStreamer

print("ready", flush=True)
sys.stdin.readline()
with SafetensorsStreamer() as streamer:
    streamer.stream_files([sys.argv[1]])
    print(sum(tensor.nelement() * tensor.dtype.itemsize for _, tensor in streamer.get_tensors()), flush=True)
