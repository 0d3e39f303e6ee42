"""Map the model that a gpuload holds, and print its tensors as a manifest.

As an unmodified PyTorch process would: the handles go to the function with which
PyTorch opens the tensors of another process. Prints nothing where torch or a GPU
is missing.
"""
import base64
import hashlib
import json
import socket
import sys

try:
    import torch
    from torch.multiprocessing.reductions import rebuild_cuda_tensor
except ImportError:
    sys.exit(0)


def receive(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        with client.makefile("rb") as answer:
            return json.load(answer)


def open_allocation(device, allocation):
    """One allocation of the holder as a tensor of bytes."""
    size = allocation["nbytes"]
    return rebuild_cuda_tensor(
        torch.Tensor, (size,), (1,), 0, torch.UntypedStorage, torch.uint8,
        device, base64.b64decode(allocation["handle"]), size, 0, False,
        b"none", 0, b"none", False)


def main(path):
    if not torch.cuda.is_available():
        return
    held = receive(path)
    device = torch.device(held["device"]).index
    torch.ones(1, device=held["device"])
    memory = [open_allocation(device, a) for a in held["allocations"]]
    for t in held["tensors"]:
        data = b""
        if t["nbytes"] > 0:
            begin = t["offset"]
            data = memory[t["allocation"]][begin:begin + t["nbytes"]].cpu().numpy()
        print(json.dumps({
            "name": t["name"], "dtype": t["dtype"], "shape": t["shape"], "nbytes": t["nbytes"],
            "digest": "sha256:" + hashlib.sha256(data).hexdigest(),
        }))


if __name__ == "__main__":
    main(sys.argv[1])
