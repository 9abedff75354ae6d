"""Named to vLLM as its workers' extension on CPU: importing it adapts vLLM in whichever process a worker has."""

from actors.sampler.vllm_engine import adapt_to_cpu
from actors.sampler.weight_worker import WeightWorker as WeightWorker

adapt_to_cpu()
