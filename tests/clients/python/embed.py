"""The embedding layer of a trained BERT, computed by numpy from the folder
given, and the words that the result is nearest to.

The nearest words take a product with the whole matrix of words, so that each of
its elements counts. It is summed in double precision, to the last bit in the
same order.
"""
import hashlib
import json
import os
import sys

import numpy
import safetensors.numpy
import tokenizers

TEXT = "GPU nodes wait minutes for model weights."


def embed(weights, ids, epsilon):
    """The embeddings of ids: word, position and type, normalised."""
    table = {name: weights[f"embeddings.{name}_embeddings.weight"].astype(numpy.float64)
             for name in ("word", "position", "token_type")}
    hidden = table["word"][ids] + table["position"][:len(ids)] + table["token_type"][0]
    hidden = (hidden - hidden.mean(-1, keepdims=True)) / numpy.sqrt(hidden.var(-1, keepdims=True) + epsilon)
    hidden = hidden * weights["embeddings.LayerNorm.weight"] + weights["embeddings.LayerNorm.bias"]
    return hidden, numpy.einsum("th,vh->tv", hidden, table["word"])


def main(folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    weights = safetensors.numpy.load_file(os.path.join(folder, "model.safetensors"))
    encoded = tokenizer.encode(TEXT)
    hidden, scores = embed(weights, encoded.ids, config["layer_norm_eps"])
    for token, row in zip(encoded.tokens, scores):
        print(token, tokenizer.id_to_token(int(row.argmax())), f"{row.max():.6f}")
    print(hashlib.sha256(hidden.tobytes()).hexdigest(), hashlib.sha256(scores.tobytes()).hexdigest())


if __name__ == "__main__":
    main(sys.argv[1])
