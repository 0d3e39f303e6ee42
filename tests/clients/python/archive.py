"""Read a stored zip as torch.load reads a .pt: the directory at its end first,
then the pickle, then each storage. zipfile holds each against its checksum.
"""
import hashlib
import pickle
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as archive:
    shapes = pickle.loads(archive.read("archive/data.pkl"))
    for i, (name, shape) in enumerate(shapes.items()):
        print(name, shape, hashlib.sha256(archive.read(f"archive/data/{i}")).hexdigest())
