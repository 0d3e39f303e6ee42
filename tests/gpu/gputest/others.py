"""Time somebody else's loader onto a GPU: LOADER DEVICE FILE...

Prints one line of JSON: version, bytes and seconds, or absent, which says why
there are none.
"""
import importlib.metadata
import json
import os
import sys
import time


def safetensors(device, paths):
    from safetensors.torch import load_file
    return [load_file(path, device=device) for path in paths]


def runai_model_streamer(device, paths):
    from runai_model_streamer import SafetensorsStreamer
    tensors = []
    with SafetensorsStreamer() as streamer:
        streamer.stream_files(paths)
        for _, tensor in streamer.get_tensors():
            tensors.append(tensor.to(device))
    return tensors


def fastsafetensors(device, paths):
    from fastsafetensors import SafeTensorsFileLoader, SingleGroup
    loader = SafeTensorsFileLoader(SingleGroup(), device, nogds=True, disable_cache=False)
    loader.add_filenames({0: paths})
    buffers = loader.copy_files_to_device()
    return loader, buffers, [buffers.get_tensor(key) for key in buffers.key_to_rank_lidx]


def weightfs(device, paths):
    from weightfs.torch import load_file
    return [load_file(path, device=device) for path in paths]


def instanttensor(device, paths):
    import torch
    from instanttensor import BackendPolicy, safe_open
    # Buffered, as its page advises for files that are in the page cache.
    with safe_open(paths, framework="pt", device=torch.device(device).index or 0, backend=BackendPolicy.BUFFERED) as file:
        return [tensor for _, tensor in file.tensors()]


def main():
    name, device, paths = sys.argv[1], sys.argv[2], sys.argv[3:]
    try:
        import torch
        version = importlib.metadata.version(name)
    except ImportError as error:  # PackageNotFoundError is one too
        return {"absent": f"not installed: {error}"}
    if not torch.cuda.is_available():
        return {"version": version, "absent": "torch sees no GPU"}
    torch.ones(1, device=device)  # the context is not what is measured
    torch.cuda.synchronize()
    load = globals()[name.replace("-", "_")]
    start = time.perf_counter()
    try:
        loaded = load(device, paths)
        torch.cuda.synchronize()
    except Exception as error:  # of whatever kind: it is a line of the table
        return {"version": version, "absent": f"{type(error).__name__}: {error}"[:200]}
    seconds = time.perf_counter() - start
    del loaded
    return {"version": version, "bytes": sum(map(os.path.getsize, paths)), "seconds": seconds}


print(json.dumps(main()))
