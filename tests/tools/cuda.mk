# What needs CUDA's header, included by the Makefile. cuda.sh finds or fetches it.
# Nothing here needs a GPU.

CUDA := tests/tools/cuda.sh

.PHONY: gpuload-cuda
gpuload-cuda: ## bin/gpuload-cuda, where a CUDA header is or can be fetched
	@if settings=$$($(CUDA) env); then \
		eval "$$settings"; \
		CGO_ENABLED=1 go build -trimpath -tags cuda -o bin/gpuload-cuda ./cmd/gpuload; \
		echo "bin/gpuload-cuda: built with $$WEIGHTFS_CUDA/cuda.h"; \
	else \
		echo "bin/gpuload-cuda: left out, gpuload loads to the CPU"; \
	fi

# The packages with files of that tag.
TAGGED := ./gpuload/cuda ./cmd/gpuload ./tests/gpu/bareloop

.PHONY: cuda-test
cuda-test: packages $(TOOLS)/staticcheck $(VENV)/done ## the cuda build with the headers of CUDA 11.8, 12 and 13, tested on a driver without a GPU
	@driver=$$($(CUDA) driver); \
	for version in $$($(CUDA) versions); do \
		settings=$$($(CUDA) env $$version); eval "$$settings"; export CGO_ENABLED=1; \
		echo "cuda $$version: vet, build and test"; \
		go vet -tags cuda $(TAGGED); \
		go build -tags cuda -o .cuda/$$version/gpuload-cuda ./cmd/gpuload; \
		$(TOOLS)/staticcheck -tags cuda $(TAGGED); \
		LD_LIBRARY_PATH=$$driver go test -count=1 -tags cuda ./gpuload/cuda; \
	done
