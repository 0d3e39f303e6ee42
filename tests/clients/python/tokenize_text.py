"""Load a tokenizer and show what it makes of a text."""
import hashlib
import sys

import tokenizers

tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
print(tokenizer.encode("GPU nodes wait minutes for model weights.").ids)
print(tokenizer.get_vocab_size(), hashlib.sha256(tokenizer.to_str().encode()).hexdigest())
