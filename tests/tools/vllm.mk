# Real vLLM. It is no part of "make test": it installs 9 GB.
VLLM := $(CURDIR)/.vllm

.PHONY: vllm-test
vllm-test: bin/mountd bin/gpuload packages $(TOOLS)/versitygw $(VENV)/done $(VLLM)/done ## real vLLM loads by each of its formats and by ours, and answers; VLLMFLAGS=--measure: how fast
	go build -o $(TOOLS)/vllm ./tests/vllm
	@WEIGHTFS_BIN=$(CURDIR)/bin $(TOOLS)/vllm --vllm $(VLLM) $(if $(ROWS),--rows '$(ROWS)') $(if $(RUNS),--runs $(RUNS)) $(VLLMFLAGS)

$(VLLM)/done: tests/vllm/install.sh | packages
	rm -rf $(VLLM)
	tests/vllm/install.sh $(VLLM)
	@touch $@
