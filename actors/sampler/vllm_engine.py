"""vLLM's engine in this process, as a sampler sets it up. Imports vLLM: to be imported late."""

from collections.abc import Mapping

from vllm import EngineArgs, RequestOutput
from vllm import SamplingParams as VllmParams
from vllm.lora.request import LoRARequest
from vllm.model_executor.layers import utils
from vllm.model_executor.models import registry
from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched import output
from vllm.v1.engine.llm_engine import LLMEngine

import torch  # isort: skip

from actors.config import SamplerConfig
from actors.lscpu import replace_missing_lscpu
from actors.sampler import adapter
from actors.sampler.arguments import engine_arguments
from rollout.types import SamplingParams


class VllmEngine(LLMEngine):
    """An engine whose steps in flight can be waited for."""

    adapter: LoRARequest | None = None
    """Through which every request is answered."""

    def add_request(self, request_id: str, prompt: object, params: VllmParams, **settings: object) -> str:
        """Queue a request."""
        name: str = super().add_request(request_id, prompt, params, lora_request=self.adapter, **settings)
        return name

    def drain(self) -> list[RequestOutput]:
        """End the steps that asynchronous scheduling has in flight; return the requests that they finished."""
        core = self.engine_core.engine_core
        outputs: list[RequestOutput] = []
        if core.batch_queue:
            core.pause_scheduler(mode="keep", clear_cache=False)  # else each step that ends starts another one
            while core.batch_queue:
                outputs += self.step()
            core.resume_scheduler()
        return outputs

    def sleep(self, level: int = 2, mode: str = "keep") -> None:
        """Free weights and key-value cache; requests will start over with the tokens that they have.

        Unlike vLLM's own it drops neither requests nor images that are processed, which are in host memory.
        """
        self.engine_core.sleep(level, mode)

    @property
    def has_lost_worker(self) -> bool:
        """Whether a worker that has its own process is gone."""
        return bool(getattr(self.engine_core.engine_core.model_executor, "is_failed", False))

    def num_drawn(self) -> dict[str, int]:
        """Return the number of tokens drawn for each unfinished request."""
        states = self.output_processor.request_states.values()
        return {state.external_req_id: state.detokenizer.num_output_tokens() for state in states}


def build_engine(
    config: SamplerConfig,
    model: str,
    size: Mapping[str, int] | None = None,
    worker_class: str = "",
    *,
    load_format: str = "auto",
) -> VllmEngine:
    """Make the engine.

    `size` is what it scales images by (`limit_pixels`), `worker_class` is mixed into its workers, and `load_format` is
    vLLM's.
    """
    # vLLM 0.30 passes the worker no pixels for images that a cached prefix covers, and dies if the request is
    # preempted and has to encode them after all, as in every publish during generation. In-process this saves nothing.
    output.strip_covered_mm_data = lambda features, *args, **kwargs: features
    if not config.gpus_per_sampler:
        adapt_to_cpu()
    arguments = engine_arguments(config, model, size)
    # As with several API servers: processed images are cached on the renderer's side alone. Otherwise there are two
    # caches that have to see the same requests in the same order, and one that is refused puts them out of step.
    engine: VllmEngine = VllmEngine.from_engine_args(
        EngineArgs(**arguments, worker_extension_cls=worker_class, load_format=load_format, _api_process_count=2)
    )
    if config.adapter_rank:
        engine.collective_rpc("hold_zero_adapter", args=(config.adapter_rank,))
        engine.adapter = adapter.REQUEST
    return engine


def sampling_params(params: SamplingParams, seed: int, banned: Mapping[int, float]) -> VllmParams:
    """Return vLLM's parameters of a request; `banned` is added to the logits of these tokens."""
    return VllmParams(
        temperature=params.temperature,
        max_tokens=params.max_tokens,
        seed=seed % (1 << 63),
        logit_bias=banned,
        logprobs=0,
        flat_logprobs=True,
        # All is needed once, at the end; vLLM would decode the text, and the log-probabilities', at each token.
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,  # they are made for one request
    )


def adapt_to_cpu() -> None:
    """Change two behaviours of vLLM that do not suit a model that is trained on CPU."""

    def plain(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    # Packing a linear weight frees the original, so a later load would fail half-way.
    utils.dispatch_cpu_unquantized_gemm = plain
    # vLLM inspects a model class in a subprocess, because of CUDA; it would lack `actors.cpu_torch`.
    registry._run_in_subprocess = lambda function: function()
    replace_missing_lscpu()
