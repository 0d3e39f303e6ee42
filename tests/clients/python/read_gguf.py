"""Read a GGUF file by GGUFReader, which maps it."""
import hashlib
import sys

import gguf

reader = gguf.GGUFReader(sys.argv[1])
for name, field in sorted(reader.fields.items()):
    print(name, [part.tolist() for part in field.parts])
for tensor in reader.tensors:
    print(tensor.name, tensor.tensor_type, tensor.shape.tolist(), hashlib.sha256(tensor.data.tobytes()).hexdigest())
