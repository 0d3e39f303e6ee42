# weightfs. "make help" lists the targets.
#
# Needed: Go, make, git, python3. The rest is installed where it is missing:
# Debian packages by apt-get (as root), tools into .tools, Python packages into
# .venv.

SHELL      := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

ROOT  := $(CURDIR)
TOOLS := $(ROOT)/.tools
export CGO_ENABLED ?= 0

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: build
build: bin/mountd bin/gpuload ## bin/mountd and bin/gpuload

.PHONY: bin/mountd bin/gpuload
bin/mountd bin/gpuload:
	go build -trimpath -o $@ ./cmd/$(@F)

.PHONY: test
test: ## the whole suite
	go test ./...

$(TOOLS)/versitygw: tests/s3test/VERSITYGW
	GOBIN=$(TOOLS) go install $(file <$<)

.PHONY: clean
clean: ## remove what make built
	rm -rf bin
