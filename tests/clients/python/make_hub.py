"""Lay files out as huggingface_hub caches them: make_hub.py HF_HOME FILE..."""
import hashlib
import os
import shutil
import sys

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def main(home, files):
    repo = os.path.join(home, "hub", "models--org--name")
    snapshot = os.path.join(repo, "snapshots", COMMIT)
    for folder in (os.path.join(repo, "blobs"), os.path.join(repo, "refs"), snapshot):
        os.makedirs(folder)
    with open(os.path.join(repo, "refs", "main"), "w") as ref:
        ref.write(COMMIT)
    for path in files:
        with open(path, "rb") as file:
            blob = hashlib.sha256(file.read()).hexdigest()
        shutil.copyfile(path, os.path.join(repo, "blobs", blob))
        os.symlink(os.path.join("..", "..", "blobs", blob), os.path.join(snapshot, os.path.basename(path)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
