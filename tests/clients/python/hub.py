"""Find a model in the Hugging Face cache of HF_HOME, without a network, by
everything that transformers and vLLM use for it, and read it.
"""
import hashlib
import os

import huggingface_hub
from huggingface_hub import errors

REPO = "org/name"


def show(path):
    with open(path, "rb") as file:
        content = file.read()
    print(os.path.relpath(path, os.environ["HF_HOME"]), len(content), hashlib.sha256(content).hexdigest())


folder = huggingface_hub.snapshot_download(REPO)
for name in sorted(os.listdir(folder)):
    show(huggingface_hub.hf_hub_download(REPO, name))
    assert huggingface_hub.try_to_load_from_cache(REPO, name) == os.path.join(folder, name)
try:
    huggingface_hub.hf_hub_download(REPO, "nothing.json")
except errors.LocalEntryNotFoundError as error:
    print(type(error).__name__)
cache = huggingface_hub.scan_cache_dir()
print([(repo.repo_id, sorted(repo.refs)) for repo in cache.repos], cache.warnings)
