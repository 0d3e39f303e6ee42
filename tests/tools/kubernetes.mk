# The conformance suite of CSI drivers, and what renders and validates manifests,
# with Kubernetes' own schemas in it: tools, and no dependencies of ours.
KUBERNETES_TOOLS := $(addprefix $(TOOLS)/,csi-sanity kustomize kubectl-validate)

$(TOOLS)/csi-sanity: tests/tools/kubernetes.mk
	GOBIN=$(TOOLS) GOFLAGS= go install github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@v5.6.0
	@touch $@

$(TOOLS)/kustomize: tests/tools/kubernetes.mk
	GOBIN=$(TOOLS) GOFLAGS= go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1
	@touch $@

$(TOOLS)/kubectl-validate: tests/tools/kubernetes.mk
	GOBIN=$(TOOLS) GOFLAGS= go install sigs.k8s.io/kubectl-validate@v0.0.4
	@touch $@
