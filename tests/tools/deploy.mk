# KUBERNETES_TOOLS
include tests/tools/kubernetes.mk

# Each way in which a node comes to weightfs, tried by that very way: one package
# of tests below tests/deploy for each.
.PHONY: deploy-test
deploy-test: export WEIGHTFS_BIN := $(CURDIR)/bin
deploy-test: bin/mountd bin/gpuload bin/weightfs-csi packages deploy-packages $(TOOLS)/versitygw $(VENV)/done $(KUBERNETES_TOOLS) ## every way to deploy: installed, mounted, watched and ended
	go test -count 1 -timeout 30m ./tests/deploy/...

.PHONY: deploy-packages
deploy-packages:
	@tests/tools/packages.sh deploy

include tests/tools/monitoring.mk
