#!/usr/bin/env bash
# Builds the programs that are shipped, static, the same bytes from the same
# sources wherever they lie:
#
#   programs.sh ARCH DIR      ARCH as Go has it: amd64, arm64
#
# LDFLAGS has the stamp of the version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
arch=$1 dir=$(realpath -m "$2")
export CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOAMD64=v1 GOARM64=v8.0 GOFLAGS=''
mkdir -p "$dir"
go build -trimpath -buildvcs=false -ldflags "-s -w $LDFLAGS" -o "$dir/" ./cmd/mountd ./cmd/gpuload
