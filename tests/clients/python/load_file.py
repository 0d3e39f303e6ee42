"""Load safetensors files by load_file and print what each tensor is."""
import hashlib
import sys

import safetensors.numpy

for path in sys.argv[1:]:
    for name, array in sorted(safetensors.numpy.load_file(path).items()):
        print(name, array.dtype, array.shape, hashlib.sha256(array.tobytes()).hexdigest())
