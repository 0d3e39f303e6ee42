"""Load a safetensors file as vLLM does with a safetensors_load_strategy, and
print its bytes: load.py load_file|lazy|eager|prefetch PATH.

load_file is safetensors' own: it maps the file, takes the tensors in the order
of their offsets, and keeps them all. lazy takes them one by one in the order of
their names, and drops each.
eager reads the whole file before it looks at it. prefetch is lazy while a thread
reads the file in blocks of 16 MiB into the page cache.
"""
import sys
import threading

import safetensors
import safetensors.numpy

BLOCK = 16 << 20


def lazy(path):
    total = 0
    with safetensors.safe_open(path, framework="np") as file:
        for name in file.keys():
            total += file.get_tensor(name).nbytes
    return total


def load_file(path):
    return sum(array.nbytes for array in safetensors.numpy.load_file(path).values())


def eager(path):
    with open(path, "rb") as file:
        return sum(array.nbytes for array in safetensors.numpy.load(file.read()).values())


def read_blocks(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(BLOCK):
            pass


def prefetch(path):
    reader = threading.Thread(target=read_blocks, args=(path,))
    reader.start()
    total = lazy(path)
    reader.join()
    return total


strategy, path = {"load_file": load_file, "lazy": lazy, "eager": eager, "prefetch": prefetch}[sys.argv[1]], sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
print(strategy(path), flush=True)
