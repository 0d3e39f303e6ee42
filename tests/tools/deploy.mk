KUBERNETES_TOOLS := $(addprefix $(TOOLS)/,csi-sanity kustomize kubectl-validate)

# Each way in which a node comes to weightfs, tried by that very way: one package
# of tests below tests/deploy for each.
.PHONY: deploy-test
deploy-test: export WEIGHTFS_BIN := $(CURDIR)/bin
deploy-test: bin/mountd bin/gpuload bin/weightfs-csi packages deploy-packages $(TOOLS)/versitygw $(KUBERNETES_TOOLS) ## every way to deploy: installed, mounted, watched and ended
	go test -count 1 -timeout 30m ./tests/deploy/...

.PHONY: deploy-packages
deploy-packages:
	@tests/tools/packages.sh deploy

# The conformance suite of CSI drivers, and what renders and validates manifests,
# with Kubernetes' own schemas in it. None of them is a dependency of ours.
$(TOOLS)/csi-sanity: tests/tools/deploy.mk
	GOBIN=$(TOOLS) GOFLAGS= go install github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@v5.6.0
	@touch $@

$(TOOLS)/kustomize: tests/tools/deploy.mk
	GOBIN=$(TOOLS) GOFLAGS= go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1
	@touch $@

$(TOOLS)/kubectl-validate: tests/tools/deploy.mk
	GOBIN=$(TOOLS) GOFLAGS= go install sigs.k8s.io/kubectl-validate@v0.0.4
	@touch $@
