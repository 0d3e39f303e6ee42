# Installing and releasing, included by the Makefile. What lies where is said once,
# in install.sh, for "make install", the Debian package and the tarballs.

NFPM := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
CYCLONEDX := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# By ":=", so that only the command line of make has a say in them.
STAMP := $(shell deploy/package/version.sh)
VERSION := $(word 1,$(STAMP))
COMMIT := $(word 2,$(STAMP))
DATE := $(word 3,$(STAMP))
DESTDIR :=
PREFIX := /usr/local
HELPERDIR := /sbin
DIST := bin/dist
ARCH :=
# Whoever publishes the package names themselves here.
MAINTAINER := weightfs maintainers <maintainers@weightfs.invalid>

# What --version says, for go build -ldflags.
LDFLAGS = -X 'weightfs/cmd/cli.stamp=$(VERSION) $(COMMIT) $(DATE)'

# Man pages and completions, made anew when what they tell of may have changed.
bin/share: go.mod $(shell find cmd -name '*.go') deploy/package/pages.sh
	rm -rf $@ $@.new
	deploy/package/pages.sh $@.new
	mv $@.new $@

.PHONY: install
install: bin/share ## into PREFIX (/usr/local) what "make" built; for packagers DESTDIR
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' HELPERDIR='$(HELPERDIR)' deploy/package/install.sh install

.PHONY: uninstall
uninstall: ## take out what install put there, but not the configuration
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' deploy/package/install.sh uninstall

deb dist: export VERSION := $(VERSION)
deb dist: export DATE := $(DATE)
deb dist: export LDFLAGS := $(LDFLAGS)
deb dist: export DIST := $(DIST)
deb dist: export TOOLS := $(TOOLS)
deb: export ARCH := $(ARCH)
deb: export MAINTAINER := $(MAINTAINER)

.PHONY: deb
deb: bin/share $(TOOLS)/nfpm ## a Debian package, into bin/dist, for this machine or ARCH=arm64
	deploy/package/deb.sh

.PHONY: dist
dist: $(TOOLS)/cyclonedx-gomod ## static tarballs for amd64 and arm64 with SBOMs and sums, into bin/dist
	deploy/package/dist.sh

.PHONY: docs
docs: ## docs/flags.md, from what --help says
	deploy/package/pages.sh flags >docs/flags.md.new
	mv docs/flags.md.new docs/flags.md

$(TOOLS)/nfpm: deploy/package/package.mk
	GOBIN=$(TOOLS) GOFLAGS= go install $(NFPM)
	@touch $@

$(TOOLS)/cyclonedx-gomod: deploy/package/package.mk
	GOBIN=$(TOOLS) GOFLAGS= go install $(CYCLONEDX)
	@touch $@
