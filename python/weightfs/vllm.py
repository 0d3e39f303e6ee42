"""vLLM's load formats weightfs and weightfs_sharded: a plugin, which vLLM finds by its
entry point.

What is loaded, and into what, is decided by vLLM's own loaders, of which these are
subclasses: only the iteration over the tensors of safetensors files is ours. Where the
files are not leased, it is vLLM's.
"""
from __future__ import annotations

import dataclasses
import functools
import types
from typing import Any, Callable, Iterator, Sequence

import torch
from torch.nn.parameter import UninitializedTensorMixin
from vllm.config import ModelConfig, VllmConfig
from vllm.config.load import LoadConfig
from vllm.logger import init_logger
from vllm.model_executor.model_loader import DefaultModelLoader, ShardedStateLoader, register_model_loader

from . import torch as weights
from ._elsewhere import why_not_leased
from ._memory import use_huge_pages
from ._options import SHARDED, Options, parse

logger = init_logger("vllm.weightfs")  # vLLM shows loggers of its own name alone

_ITERATOR = "safetensors_weights_iterator"

Tensors = Iterator[tuple[str, torch.Tensor]]


@functools.cache
def register() -> None:
    """Make the load formats known. vLLM calls it in each process, maybe twice."""
    register_model_loader("weightfs")(WeightfsLoader)
    register_model_loader(SHARDED)(WeightfsShardedLoader)


class _HugePages:
    """A loader that has parameters in memory of the host in huge pages. vLLM has not
    touched them yet."""

    def load_weights(self, model: torch.nn.Module, model_config: ModelConfig) -> None:
        for parameter in model.parameters():
            if parameter.device.type == "cpu" and not isinstance(parameter, UninitializedTensorMixin):
                use_huge_pages(parameter.data_ptr(), parameter.numel() * parameter.element_size())
        super().load_weights(model, model_config)  # type: ignore[misc]


class WeightfsLoader(_HugePages, DefaultModelLoader):
    """Loads what the default loader does, of safetensors files by leases."""

    def __init__(self, load_config: LoadConfig) -> None:
        self._options = _parse(load_config)
        super().__init__(dataclasses.replace(load_config, load_format="auto", model_loader_extra_config={}))

    def _get_weights_iterator(self, source: DefaultModelLoader.Source) -> Tensors:
        """The files of a source are chosen and filtered by the method of the installed
        vLLM, run as it is but for the iterator that it calls."""
        method = DefaultModelLoader._get_weights_iterator
        names = {**method.__globals__, _ITERATOR: self._iterate}
        ours = types.FunctionType(method.__code__, names, method.__name__, method.__defaults__, method.__closure__)
        return ours(self, source)

    def _prepare_weights(self, *arguments: Any, **named: Any) -> Any:
        prepared = super()._prepare_weights(*arguments, **named)
        if not prepared[2]:  # use_safetensors
            logger.warning("%s has no safetensors files: vLLM's default loader reads the others", prepared[0])
        return prepared

    def _iterate(
        self,
        files: Sequence[str],
        use_tqdm: bool,
        strategy: str | None = None,
        local_expert_ids: set[int] | None = None,
        **named: Any,
    ) -> Tensors:
        """In place of vLLM's safetensors_weights_iterator. Of experts, only those of this
        rank are fetched."""
        from vllm.model_executor.model_loader import weight_utils

        why = why_not_leased(files[0]) if strategy != "torchao" else "vLLM puts tensors of torchao together itself"
        if why is not None:
            logger.warning("%s is read by vLLM's default loader: %s", files[0], why)
            return weight_utils.safetensors_weights_iterator(files, use_tqdm, strategy, local_expert_ids=local_expert_ids, **named)
        return _leased(files, self._options, lambda name: not weight_utils.should_skip_weight(name, local_expert_ids))


class WeightfsShardedLoader(_HugePages, ShardedStateLoader):
    """Loads what sharded_state does, by leases: files of this rank alone."""

    def __init__(self, load_config: LoadConfig) -> None:
        self._options = _parse(load_config)
        extra = {} if self._options.pattern is None else {"pattern": self._options.pattern}
        super().__init__(dataclasses.replace(load_config, load_format="sharded_state", model_loader_extra_config=extra))

    def create_model(self, vllm_config: VllmConfig, model_config: ModelConfig, prefix: str = "") -> torch.nn.Module:
        """vLLM takes the lm_head of a checkpoint for a sign that it is not tied to the
        embeddings. A sharded state has one of two tied tensors, so vLLM asks none of its
        own formats; of ours it does not know that."""
        if getattr(model_config, "word_embeddings_untied_by_checkpoint", False):
            model_config.word_embeddings_untied_by_checkpoint = False
            for config in (model_config.hf_config, model_config.hf_config.get_text_config()):
                config.tie_word_embeddings = True
        return super().create_model(vllm_config, model_config, prefix)

    def iterate_over_files(self, paths: Sequence[str]) -> Tensors:
        why = why_not_leased(paths[0])
        if why is None:
            return _leased(paths, self._options, None)
        logger.warning("%s is read by vLLM's loader of sharded states: %s", paths[0], why)
        return super().iterate_over_files(paths)


def _parse(load_config: LoadConfig) -> Options:
    options = parse(load_config.load_format, load_config.model_loader_extra_config or {})
    if options.distributed:
        logger.info("distributed changes nothing: what one rank has fetched, mountd leases to all ranks of its node")
    return options


def _leased(files: Sequence[str], options: Options, choose: Callable[[str], bool] | None) -> Tensors:
    # vLLM copies each tensor into a parameter.
    return weights.iterate(sorted(files), filter=choose, memory_limit=options.memory_limit, concurrency=options.concurrency, mapped=True)


_METHOD = DefaultModelLoader._get_weights_iterator
if _ITERATOR not in _METHOD.__code__.co_names:
    raise ImportError(f"weightfs does not know this version of vLLM: its default loader calls no {_ITERATOR}")
