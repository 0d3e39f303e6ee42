# What needs CUDA's header, included by the Makefile. cuda.sh finds or fetches it.
# Nothing here needs a GPU.

.PHONY: gpuload-cuda
gpuload-cuda: ## bin/gpuload-cuda, where a CUDA header is or can be fetched
	@if settings=$$(tests/tools/cuda.sh env); then \
		eval "$$settings"; \
		go build -trimpath -tags "$$WEIGHTFS_TAGS" -ldflags "$(LDFLAGS)" -o bin/gpuload-cuda ./cmd/gpuload; \
		echo "bin/gpuload-cuda: built with $$WEIGHTFS_CUDA/cuda.h"; \
	else \
		echo "bin/gpuload-cuda: left out, gpuload loads to the CPU"; \
	fi

.PHONY: cuda-test
cuda-test: packages $(TOOLS)/staticcheck $(TOOLS)/versitygw $(VENV)/done ## the cuda build with the headers of CUDA 11.8, 12 and 13, on a driver without a GPU
	@tests/tools/cuda-test.sh

.PHONY: gpu-bundle
gpu-bundle: $(VENV)/done ## bin/gpu: all it takes to check and measure on a machine with a GPU, without Go or a network
	@tests/gpu/bundle.sh
