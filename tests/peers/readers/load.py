"""Load the tensors of a safetensors object and print how many bytes they are:
load.py WAY [--manifest FILE] SOURCE. With FILE also write each tensor's digest.

load_file is safetensors' own: it maps the file, takes the tensors in the order of
their offsets, and keeps them all. lazy, eager and prefetch are what vLLM does by
safetensors_load_strategy: lazy takes the tensors one by one in the order of their
names, and drops each; eager reads the whole file before it looks at it; prefetch
is lazy while a thread reads the file in blocks of 16 MiB into the page cache.
stream is runai_model_streamer. copy gets the object by boto3, as aws s3 cp does,
into a folder of TMPDIR, and loads the copy by load_file.

A way imports what it needs, since the start of the process is timed.
"""
import os
import sys

BLOCK = 16 << 20


def load_file(path):
    import safetensors.numpy

    yield from [(name, array, array.nbytes) for name, array in safetensors.numpy.load_file(path).items()]


def lazy(path):
    import safetensors

    with safetensors.safe_open(path, framework="np") as file:
        for name in file.keys():
            array = file.get_tensor(name)
            yield name, array, array.nbytes


def eager(path):
    import safetensors.numpy

    with open(path, "rb") as file:
        tensors = safetensors.numpy.load(file.read())
    yield from [(name, array, array.nbytes) for name, array in tensors.items()]


def prefetch(path):
    import threading

    def read_blocks():
        with open(path, "rb", buffering=0) as file:
            while file.read(BLOCK):
                pass

    reader = threading.Thread(target=read_blocks)
    reader.start()
    yield from lazy(path)
    reader.join()


def stream(source):
    try:
        import torch  # noqa: F401: the streamer's
    except ImportError:
        sys.path.append(os.path.join(os.path.dirname(__file__), "..", "..", "clients", "standin"))
    from runai_model_streamer import SafetensorsStreamer

    with SafetensorsStreamer() as streamer:
        streamer.stream_files([source])
        for name, tensor in streamer.get_tensors():
            yield name, tensor.numpy(), tensor.nelement() * tensor.dtype.itemsize


def copy(uri):
    import tempfile

    import boto3
    import boto3.s3.transfer
    import botocore.config

    bucket, key = uri.removeprefix("s3://").split("/", 1)
    client = boto3.client("s3", config=botocore.config.Config(s3={"addressing_style": "path"}, max_pool_connections=16))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "copy")
        client.download_file(bucket, key, path, Config=boto3.s3.transfer.TransferConfig(max_concurrency=16))
        yield from load_file(path)


def main(way, *args):
    tensors = {f.__name__: f for f in (load_file, lazy, eager, prefetch, stream, copy)}[way](args[-1])
    if args[0] != "--manifest":
        print(sum(nbytes for _, _, nbytes in tensors))
        return
    import hashlib
    import json

    total = 0
    with open(args[1], "w") as manifest:
        for name, data, nbytes in tensors:
            total += nbytes
            json.dump({"name": name, "nbytes": nbytes, "digest": "sha256:" + hashlib.sha256(memoryview(data).cast("B")).hexdigest()}, manifest)
            manifest.write("\n")
    print(total)


main(*sys.argv[1:])
