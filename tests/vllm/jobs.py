"""What vLLM does with a model, each job in a process of its own.

Each line of the input is a JSON object: what to "do", and its arguments. For each there
is one line of output, an object too: the answer, or the "error". The processes are forked
from this one, which has imported what all need: so each is as good as new, and need not
wait for half a minute.
"""
import concurrent.futures
import contextlib
import ctypes
import functools
import glob
import hashlib
import json
import mmap
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine runs in the job's process
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",  # a function is handed to the ranks
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # ranks may share a processor
}

import torch
import weightfs.vllm
from safetensors.torch import load_file
from vllm import LLM, SamplingParams
from vllm.config import set_current_vllm_config
from vllm.distributed import ensure_model_parallel_initialized, init_distributed_environment
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.model_loader import ShardedStateLoader, base_loader, get_model_loader
from vllm.model_executor.models import llama  # noqa: F401, as the last line
from vllm.v1.executor import multiproc_executor
from vllm.v1.worker import cpu_worker  # noqa: F401

# For bfloat16 vLLM 0.32 uses AMX without having asked the kernel for it, which ends it.
SETTINGS = {"dtype": "float16", "enforce_eager": True, "max_model_len": 256, "use_tqdm_on_load": False}

multiproc_executor.get_mp_context = lambda: multiprocessing.get_context("fork")  # for ranks too

# Weights are not what was loaded any more once vLLM has processed them.
process = base_loader.process_weights_after_loading


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_of(pid):
    """CPU seconds of another process and its children."""
    with open(f"/proc/{pid}/stat") as file:
        ticks = sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    used = ticks / os.sysconf("SC_CLK_TCK")
    for name in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(name) as file:
            used += sum(map(cpu_of, file.read().split()))
    return used


@contextlib.contextmanager
def loader(meet, rank, format, path, extra={}, settings={}):
    """One of vLLM's loaders, without an engine: its config, and itself. Ranks meet in a
    folder."""
    config = EngineArgs(model=path, load_format=format, model_loader_extra_config=extra, **SETTINGS, **settings).create_engine_config()
    base_loader.process_weights_after_loading = lambda *_: None
    os.environ["VLLM_DIST_IDENT"] = os.path.basename(meet)  # of those who share memory
    with set_current_vllm_config(config):
        ways = config.parallel_config
        init_distributed_environment(ways.world_size, rank, f"file://{meet}/meet", rank, "gloo")
        ensure_model_parallel_initialized(ways.tensor_parallel_size, ways.pipeline_parallel_size)
        yield config, get_model_loader(config.load_config)


def load(format, path, extra={}, daemon=None, memory=False, touch=0):
    """The seconds that load_weights took, and the CPU seconds of this process and of the
    mount's daemon meanwhile. With memory, the tensors lie in memory of this process before.
    So many bytes are touched and given back first."""
    took = {}
    if memory:
        files = sorted(glob.glob(f"{path}/*.safetensors"))
        tensors = [(name, tensor.clone()) for file in files for name, tensor in load_file(file).items()]
        weightfs.vllm.why_not_leased = lambda _: None
        weightfs.vllm._leased = lambda *_: iter(tensors)

    def timed(model, model_config):
        if touch:
            with mmap.mmap(-1, touch, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as fresh:
                fresh.madvise(mmap.MADV_HUGEPAGE)
                fresh.madvise(23)  # MADV_POPULATE_WRITE
        others, used, began = cpu_of(daemon) if daemon else 0, cpu(), time.perf_counter()
        load_weights(model, model_config)
        took.update(seconds=time.perf_counter() - began, client=cpu() - used, daemon=cpu_of(daemon) - others if daemon else 0)

    with tempfile.TemporaryDirectory() as meet, loader(meet, 0, format, path, extra) as (config, made):
        load_weights, made.load_weights = made.load_weights, timed
        made.load_model(config, config.model_config)
    return took


def on_ranks(ranks, work, *arguments):
    """What a function returns in a process for each rank."""
    with tempfile.TemporaryDirectory() as meet, concurrent.futures.ProcessPoolExecutor(ranks, multiprocessing.get_context("fork")) as pool:
        return list(pool.map(functools.partial(work, meet, *arguments), range(ranks)))


def save(path, to, ranks):
    """The model as each rank has it, for the sharded formats."""
    os.makedirs(to)
    for name in os.listdir(path):
        if not name.endswith((".safetensors", ".index.json")):
            shutil.copy(os.path.join(path, name), to)
    on_ranks(ranks, save_rank, path, to, ranks)
    return {}


def save_rank(meet, path, to, ranks, rank):
    with loader(meet, rank, "auto", path, settings={"tensor_parallel_size": ranks}) as (config, made):
        ShardedStateLoader.save_model(made.load_model(config, config.model_config), to, max_size=256 << 20)
        torch.distributed.barrier()


def weights(format, path, ranks, settings={}):
    """What each rank has loaded."""
    return {"weights": on_ranks(ranks, digest_rank, format, path, settings)}


def digest_rank(meet, format, path, settings, rank):
    with loader(meet, rank, format, path, settings=settings) as (config, made):
        found = digest(made.load_model(config, config.model_config))
        torch.distributed.barrier()
        return found


def digest(model):
    """Of all that a rank has loaded."""
    whole = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        whole.update(name.encode())
        whole.update(memoryview(parameter.detach().contiguous().view(-1).view(dtype=torch.uint8).numpy()))
    return whole.hexdigest()


def noted(model, *arguments):
    model.was_loaded = digest(model)
    process(model, *arguments)


def was_loaded(model):
    return model.was_loaded


def generate(format, path, ranks, extra={}):
    """An engine's tokens, with their probabilities, and what its ranks have loaded."""
    base_loader.process_weights_after_loading = noted
    llm = LLM(model=path, load_format=format, model_loader_extra_config=extra, tensor_parallel_size=ranks, max_num_seqs=4, **SETTINGS)
    out = llm.generate(["the quick brown"], SamplingParams(temperature=0, max_tokens=12, logprobs=0))[0].outputs[0]
    return {"tokens": list(out.token_ids), "logprobs": [repr(p[t].logprob) for p, t in zip(out.logprobs, out.token_ids)],
            "weights": llm.apply_model(was_loaded)}


def run(job):
    try:
        return {"load": load, "generate": generate, "save": save, "weights": weights}[job.pop("do")](**job)
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    out = os.fdopen(os.dup(1), "w")  # what vLLM prints is no answer
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        os.environ.update(job.pop("env", {}))
        if not os.fork():
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            print(json.dumps(run(job)), file=out, flush=True)
            os._exit(0)
        status = os.wait()[1]
        if status:
            print(json.dumps({"error": f"it ended with status {status}"}), file=out, flush=True)


if __name__ == "__main__":
    main()
