"""Named to vLLM as its workers' extension on CPU: importing it adapts vLLM in whichever process a worker has."""

from vllm.v1.worker.cpu_worker import CPUWorker

from actors.sampler import cpu_sleep
from actors.sampler.vllm_engine import adapt_to_cpu
from actors.sampler.weight_worker import WeightWorker as WeightWorker

CPUWorker.sleep, CPUWorker.wake_up = cpu_sleep.sleep, cpu_sleep.wake_up
adapt_to_cpu()
