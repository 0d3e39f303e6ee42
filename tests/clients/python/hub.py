"""The cache of huggingface_hub below HF_HOME. hub.py FILE... lays files out as it
does; hub.py finds the model, without a network, by everything that transformers
and vLLM use for it, and reads it.
"""
import hashlib
import os
import shutil
import sys

REPO, FOLDER = "org/name", "models--org--name"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HOME = os.environ["HF_HOME"]


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def make(files):
    repo = os.path.join(HOME, "hub", FOLDER)
    snapshot = os.path.join(repo, "snapshots", COMMIT)
    for folder in (os.path.join(repo, "blobs"), os.path.join(repo, "refs"), snapshot):
        os.makedirs(folder)
    with open(os.path.join(repo, "refs", "main"), "w") as ref:
        ref.write(COMMIT)
    for path in files:
        blob = digest(path)
        shutil.copyfile(path, os.path.join(repo, "blobs", blob))
        os.symlink(os.path.join("..", "..", "blobs", blob), os.path.join(snapshot, os.path.basename(path)))


def read():
    import huggingface_hub
    from huggingface_hub import errors
    folder = huggingface_hub.snapshot_download(REPO)
    for name in sorted(os.listdir(folder)):
        path = huggingface_hub.hf_hub_download(REPO, name)
        print(os.path.relpath(path, HOME), os.path.getsize(path), digest(path))
        assert huggingface_hub.try_to_load_from_cache(REPO, name) == os.path.join(folder, name)
    try:
        huggingface_hub.hf_hub_download(REPO, "nothing.json")
    except errors.LocalEntryNotFoundError as error:
        print(type(error).__name__)
    cache = huggingface_hub.scan_cache_dir()
    print([(repo.repo_id, sorted(repo.refs)) for repo in cache.repos], cache.warnings)


make(sys.argv[1:]) if sys.argv[1:] else read()
