"""Readers of others, each a function of its own: witness.py NAME ARGUMENT...

Each prints something that is another as soon as what it reads is. What only one
of them needs is imported there.
"""
import hashlib
import inspect
import json
import mmap
import os
import pickle
import sys
import zipfile

TEXT = "GPU nodes wait minutes for model weights."
MADV_POPULATE_READ = 22
WINDOW = 64 << 20
RANKS = 4


def digest(content):
    return hashlib.sha256(content).hexdigest()


def load_file(path, *backend):
    """safetensors' load_file; from 0.9 on it can be told how to read."""
    import safetensors.numpy
    for name, array in sorted(safetensors.numpy.load_file(path, **dict(zip(["backend"], backend))).items()):
        print(name, array.dtype, array.shape, digest(array.tobytes()))


def slices(path):
    """What the ranks of tensor parallelism read: of every matrix each rank's rows,
    then each rank's columns; all others whole.
    """
    import safetensors
    with safetensors.safe_open(path, framework="np") as file:
        print(file.metadata())
        for name in sorted(file.keys()):
            part = file.get_slice(name)
            shape = part.get_shape()
            shares = [file.get_tensor(name)]
            if len(shape) == 2:
                rows, columns = ([slice(a, min(a - -n // RANKS, n)) for a in range(0, n, -(-n // RANKS))] for n in shape)
                shares = [part[share] for share in rows] + [part[:, share] for share in columns]
            print(name, part.get_dtype(), shape, *(digest(share.tobytes()) for share in shares))


def streamer(*paths):
    """Run:ai Model Streamer, all files in one stream: a manifest, one JSON line for
    each tensor. RUNAI_STREAMER_... are its own.
    """
    sys.path.append(os.path.join(os.path.dirname(__file__), "..", "standin"))  # where there is no torch
    import torch
    from runai_model_streamer import SafetensorsStreamer
    lines = []
    with SafetensorsStreamer() as stream:
        stream.stream_files(list(paths))
        origin = {tensor.name: (paths[i], tensor.dtype)
                  for i, tensors in stream.files_to_tensors_metadata.items() for tensor in tensors}
        for name, tensor in stream.get_tensors():
            path, dtype = origin[name]
            data = memoryview((tensor.reshape(-1).view(torch.uint8) if hasattr(tensor, "reshape") else tensor).numpy())
            lines.append(json.dumps({"name": name, "dtype": dtype, "shape": list(tensor.shape), "file": os.path.basename(path),
                                     "nbytes": data.nbytes, "digest": "sha256:" + digest(data)}))
    print("\n".join(sorted(lines)))


def populate(path, rank):
    """A mapping that is populated in windows before it is read, as TensorRT-LLM
    does it; each rank begins at a window of its own.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        starts = range(0, len(view), WINDOW)
        for i in range(len(starts)):
            start = starts[(i + int(rank)) % len(starts)]
            view.madvise(MADV_POPULATE_READ, start, min(WINDOW, len(view) - start))
        print(digest(view))


def llama(path, mode):
    """llama.cpp, with one of its load modes: what comes after TEXT, and how likely
    each token was.
    """
    import xllamacpp
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.warmup = path, 256, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.load_mode = getattr(xllamacpp.llama_load_mode, f"LLAMA_LOAD_MODE_{mode}")
    answer = xllamacpp.Server(params).handle_completions(
        {"prompt": TEXT, "n_predict": 16, "temperature": 0, "n_probs": 259})
    print(json.dumps(answer["choices"]))


def gguf(path):
    """GGUFReader, which maps the file."""
    from gguf import GGUFReader
    reader = GGUFReader(path)
    for name, field in sorted(reader.fields.items()):
        print(name, [part.tolist() for part in field.parts])
    for tensor in reader.tensors:
        print(tensor.name, tensor.tensor_type, tensor.shape.tolist(), digest(tensor.data.tobytes()))


def archive(path):
    """A stored zip, as torch.load reads a .pt: the directory at its end first, then
    the pickle, then each storage. zipfile holds each against its checksum.
    """
    with zipfile.ZipFile(path) as opened:
        for i, (name, shape) in enumerate(pickle.loads(opened.read("archive/data.pkl")).items()):
            print(name, shape, digest(opened.read(f"archive/data/{i}")))


def arrays(path):
    """Every way that numpy has: copied, mapped, in pieces."""
    import numpy

    def show(how, array):
        print(how, array.dtype, array.shape, digest(numpy.ascontiguousarray(array)))

    show("load", numpy.load(path))
    mapped = numpy.load(path, mmap_mode="r")
    show("mapped backwards", mapped[::-1])
    show("mapped columns", mapped[:, ::7])
    show("fromfile", numpy.fromfile(path, numpy.uint8))
    with open(path, "rb", buffering=0) as file:  # an odd piece from the middle
        file.seek(4097)
        show("from the middle", numpy.fromfile(file, numpy.uint8, count=6_000_001))


def tokenize(path):
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(path)
    print(tokenizer.encode(TEXT).ids)
    print(tokenizer.get_vocab_size(), digest(tokenizer.to_str().encode()))


def embed(folder):
    """The embedding layer of a trained BERT, and the words that the result is
    nearest to: a product with the whole matrix of words, so that each of its
    elements counts, summed in double precision, always in the same order.
    """
    import numpy
    import safetensors.numpy
    import tokenizers
    with open(os.path.join(folder, "config.json")) as file:
        epsilon = json.load(file)["layer_norm_eps"]
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    weights = safetensors.numpy.load_file(os.path.join(folder, "model.safetensors"))
    words, positions, kinds = (weights[f"embeddings.{name}_embeddings.weight"].astype(numpy.float64)
                               for name in ("word", "position", "token_type"))
    encoded = tokenizer.encode(TEXT)
    hidden = words[encoded.ids] + positions[:len(encoded.ids)] + kinds[0]
    hidden = (hidden - hidden.mean(-1, keepdims=True)) / numpy.sqrt(hidden.var(-1, keepdims=True) + epsilon)
    hidden = hidden * weights["embeddings.LayerNorm.weight"] + weights["embeddings.LayerNorm.bias"]
    scores = numpy.einsum("th,vh->tv", hidden, words)
    for token, row in zip(encoded.tokens, scores):
        print(token, tokenizer.id_to_token(int(row.argmax())), f"{row.max():.6f}")
    print(digest(hidden.tobytes()), digest(scores.tobytes()))


def import_module(folder):
    """A package from the folder, and what it computes."""
    sys.path.insert(0, os.path.abspath(folder))
    from package import layers, modeling
    print(modeling.forward([1, 2, 3]), inspect.getsource(modeling), inspect.getsource(layers))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
