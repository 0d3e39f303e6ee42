"""Make the files that a model's folder has beside its safetensors, in the
folder given: arrays, a GGUF file, an archive as torch.save writes it, a module,
and a folder of many files.
"""
import json
import os
import pickle
import sys
import zipfile

import gguf
import numpy

MODULE = '''"""A model's own code, as trust_remote_code imports it."""
from .layers import scale


def forward(values):
    return [scale(value) for value in values]
'''


def main(root):
    numbers = numpy.random.default_rng(1)
    for folder in ("arrays", "gguf", "archive", "package", "many"):
        os.mkdir(os.path.join(root, folder))
    numpy.save(os.path.join(root, "arrays", "matrix.npy"), numbers.standard_normal((1024, 1027)))
    write_gguf(os.path.join(root, "gguf", "model.gguf"), numbers)
    write_archive(os.path.join(root, "archive", "model.pt"), numbers)
    for name, text in (("__init__", ""), ("modeling", MODULE), ("layers", "def scale(value):\n    return 3 * value\n")):
        with open(os.path.join(root, "package", name + ".py"), "w") as file:
            file.write(text)
    for i in range(300):
        with open(os.path.join(root, "many", f"file-{i}-of-those-that-fill-a-listing.txt"), "w") as file:
            file.write(f"{i}\n" * (i + 1))


def write_gguf(path, numbers):
    """A llama of one layer, whose tokens are the bytes. A bit of the file's middle
    is one of ffn_down, behind which nothing is rounded: llama.cpp takes what an
    F16 matrix is multiplied with for F16, in which the bit would be lost.
    """
    width, hidden = 256, 3072
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, *[gguf.TokenType.BYTE] * 256]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(hidden)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    shapes = {"token_embd": (len(tokens), width), **{f"blk.0.attn_{name}": (width, width) for name in ("q", "k", "v", "output")},
              "blk.0.ffn_gate": (hidden, width), "blk.0.ffn_down": (width, hidden), "blk.0.ffn_up": (hidden, width),
              "output": (len(tokens), width)}
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", numpy.ones(width, numpy.float32))
    for name, shape in shapes.items():
        dtype = numpy.float32 if name == "output" else numpy.float16
        writer.add_tensor(f"{name}.weight", (numbers.standard_normal(shape) / 16).astype(dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_archive(path, numbers):
    """A stored zip: a pickle of the structure, and a member for each storage."""
    shapes = {f"layer{i}.weight": (300, 401 + i) for i in range(6)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(shapes))
        archive.writestr("archive/byteorder", "little")
        for i, shape in enumerate(shapes.values()):
            archive.writestr(f"archive/data/{i}", numbers.standard_normal(shape).astype(numpy.float32).tobytes())
        archive.writestr("archive/version", json.dumps(3))


if __name__ == "__main__":
    main(sys.argv[1])
