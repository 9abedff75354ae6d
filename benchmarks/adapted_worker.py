"""Named to vLLM as its worker's extension: importing it adapts vLLM to CPUs in a worker that has its own process."""

from actors.sampler.vllm_engine import adapt_to_cpu

adapt_to_cpu()


class AdaptedWorker:
    """Adds nothing to the worker."""
