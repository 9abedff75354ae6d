"""A sampler's Ray actor: vLLM in this process, requests in, responses out, weights in between."""

import asyncio
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import ray
import torch
from PIL import Image

from actors.banned_tokens import BANNED_LOGIT, banned_tokens
from actors.config import SamplerConfig
from actors.image_limit import limit_pixels
from actors.losses.stacks import answer_with_stacks
from actors.sampler.engine_loop import EngineLoop
from actors.sampler.rendering import Rendering
from actors.sampler.stepped_engine import Generation, SteppedEngine
from actors.store.store import Store, load_images
from actors.weights.blocks import TransferError
from actors.weights.transport.object_store import RelayedEnd
from actors.weights.transport.ring import STALL_S, Ring
from actors.weights.wire import BaseTensor, Manifest, Shapes, Ticket, Verdict, WorkerState
from rollout.roles import SamplerError, SamplerUnavailable
from rollout.types import Response, SampleRequest, SamplingParams

Result = TypeVar("Result")

_NUM_PROBES = 2
_PROBE_TOKENS = 8
_EXIT_S = 1.0
"""How long the process of an engine that died goes on, so that all waiting requests are answered."""


class Engine:
    """The actor's methods. Subclasses may break one on purpose, to test what a publish detects."""

    cpu_worker, gpu_worker = "actors.sampler.cpu_worker.WeightWorker", "actors.sampler.weight_worker.WeightWorker"
    """What is mixed into vLLM's workers."""

    def __init__(self, config: SamplerConfig, model: str, store_root: str, max_pixels: int, is_published: bool = True):
        from transformers import AutoConfig, AutoProcessor

        answer_with_stacks()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray uses a deprecated function inside
            is_restarted = ray.get_runtime_context().was_current_actor_reconstructed
        # A restarted engine has the initial weights; if weights are published, it must wait for the next publish.
        has_old_weights = is_restarted and is_published
        self._refusal = "this sampler was restarted and waits for the next publish" if has_old_weights else ""
        self._config = config
        self._store = Store(store_root)
        self._processor = AutoProcessor.from_pretrained(model)
        size = limit_pixels(self._processor, max_pixels)
        self._banned = dict.fromkeys(banned_tokens(AutoConfig.from_pretrained(model)), BANNED_LOGIT)
        self._probes: list[SampleRequest] = [self._synthetic_probe()]
        self._ring: asyncio.Future[Ring] | None = None
        """Through which the object store's blocks go on to the workers; None: they take no more."""
        worker_class = self.gpu_worker if config.gpus_per_sampler else self.cpu_worker
        self._loop = EngineLoop(lambda: build_engine(config, model, size, worker_class))
        load = partial(load_images, self._store)
        self._rendering = Rendering(self._loop.ready, self._processor, load, config.max_images, size)

    async def ready(self) -> None:
        """Return once the engine is up."""
        await asyncio.shield(asyncio.wrap_future(self._loop.ready))  # who stops waiting does not cancel it for others

    async def is_up(self) -> bool:
        """Return at once whether the engine can take weights. Raises `SamplerUnavailable` if it died."""
        if (error := self._loop.error) is not None:
            _exit_soon()
            raise SamplerUnavailable(f"the vLLM engine died: {type(error).__name__}: {error}")
        return self._loop.ready.done()

    async def has_weights(self) -> bool:
        """Return whether it answers requests without another publish. Raises `SamplerUnavailable` if it died."""
        await self.is_up()
        return not self._refusal

    async def sample(self, request: SampleRequest) -> Response:
        """Return the response as soon as it is finished. Raises `SamplerError`. Cancelling it aborts the request."""
        if self._refusal:
            raise SamplerUnavailable(self._refusal)
        response = await self._sample(request)
        if len(self._probes) <= _NUM_PROBES:
            self._remember(request)
        return response

    async def probe(self) -> list[tuple[SampleRequest, Response]]:
        """Answer the probe requests greedily: always the same ones, so that a stale cache would show."""
        probes = list(self._probes)
        responses = await asyncio.gather(*[self._sample(request) for request in probes])
        return list(zip(probes, responses, strict=True))

    async def sleep(self) -> None:
        """Free the memory of weights and key-value cache until the next publish; requests wait meanwhile.

        Those that have begun are treated as at a publish.
        """
        await asyncio.wrap_future(self._loop.pause(self._config.in_flight))
        # First: if falling asleep fails half-way, nobody takes what is left of the weights for a version.
        await self._on_workers("distrust_weights")
        await self._on_engine(lambda engine: engine.sleep())

    async def begin_publish(self, shapes: Shapes) -> list[WorkerState]:
        """Pause between two steps and expect weights; return the states of the engine's workers.

        In an engine that sleeps, weights get their memory back; the key-value cache will once they are there.
        """
        await asyncio.wrap_future(self._loop.pause(self._config.in_flight))
        await self._on_engine(partial(_wake, tag="weights"))
        self._ring = asyncio.get_running_loop().create_future()
        context = ray.get_runtime_context()
        return await self._on_workers("weight_state", context.get_node_id(), ray.util.get_node_ip_address(), shapes)

    async def missing_tensors(self, origins: Mapping[str, BaseTensor]) -> set[str]:
        """Return the names of the untrained tensors that have to be sent nevertheless."""
        return set().union(*await self._on_workers("missing_weights", origins))

    async def receive(self, tickets: Sequence[Ticket]) -> None:
        """Receive weights, each worker by its ticket. Raises what a worker raises."""
        ring = None
        if isinstance(tickets[0].end, RelayedEnd):
            ring = Ring(tickets[0].end.block_bytes, len(tickets), torch.device("cpu"))
            tickets = [replace(ticket, end=end) for ticket, end in zip(tickets, ring.ends(), strict=True)]
            self._ring = self._ring or asyncio.get_running_loop().create_future()
            self._ring.set_result(ring)
        try:
            await self._on_workers("receive_weights", tickets)
        finally:
            self._ring = None
            if ring is not None:
                ring.close()

    async def relay(self, block: np.ndarray) -> None:
        """Pass a block from Ray's object store on to the workers. Raises `TransferError` if they take no more."""
        if (coming := self._ring) is None:
            raise TransferError("the sampler's workers broke off")
        # On a busy machine this call may overtake that of `receive`: Ray keeps calls of async actors in no order.
        ring = await asyncio.wait_for(asyncio.shield(coming), STALL_S)

        def pass_on() -> None:
            ring.block()[: len(block)].copy_(torch.from_numpy(block))
            ring.commit(len(block))

        await asyncio.to_thread(pass_on)

    async def finish_publish(self, manifest: Manifest) -> list[Verdict]:
        """Compare with what was sent, drop what old weights computed, and resume as the manifest's version.

        Returns the workers' verdicts; if one found a problem, the engine stays paused: it must not answer with such
        weights.
        """
        verdicts: list[Verdict] = await self._on_workers("verify_weights", manifest)
        if not any(verdict.problems for verdict in verdicts):
            await self._on_engine(partial(_wake, tag="kv_cache"))
            await asyncio.wrap_future(self._loop.run(self.reset_caches))
            await asyncio.wrap_future(self._loop.resume(manifest.version))
            self._refusal = ""
        return verdicts

    async def distrust(self) -> None:
        """Pause until a publish of whole tensors succeeds: something is wrong that no comparison showed."""
        await asyncio.wrap_future(self._loop.pause())
        await self._on_workers("distrust_weights")

    async def current_version(self) -> int:
        """Return the version of the weights, as set after the last load."""
        return self._loop.version

    async def stats(self) -> dict[str, float]:
        """Return counts since the engine's start: seconds of work, tokens drawn."""
        if not self._loop.ready.done():
            return {}  # a step does not wait for an engine that is being started again
        tokens = await asyncio.wrap_future(self._loop.num_tokens())
        return {"seconds": self._loop.busy_s, "tokens": float(tokens)}

    def reset_caches(self, engine: Any) -> None:
        """Drop cached keys, values and image features: what weights computed. Processed images stay.

        Running requests start over with the tokens they have.
        """
        # First, so that running requests release what they hold in the encoder's cache.
        if not engine.reset_prefix_cache(reset_running_requests=True):
            raise SamplerError("vLLM did not reset its prefix cache")
        engine.reset_encoder_cache()

    async def _on_workers(self, method: str, *arguments: object) -> list[Any]:
        """Call a method of `WeightWorker` in each worker, between two steps."""
        return await self._on_engine(lambda engine: list(engine.collective_rpc(method, args=arguments)))

    async def _on_engine(self, command: Callable[[Any], Result]) -> Result:
        """Call a command that workers take part in, between two steps."""

        def call(engine: Any) -> Result:
            try:
                return command(engine)
            except Exception:
                if engine.has_lost_worker:
                    os._exit(1)  # Ray restarts the actor
                raise

        return await asyncio.wrap_future(self._loop.run(call))

    async def _sample(self, request: SampleRequest) -> Response:
        try:
            prompt = await self._rendering.render(request)
            request_id, answer = self._loop.generate(prompt, self._params(request.params, request.seed))
            try:
                return self._response(await asyncio.wrap_future(answer))
            except asyncio.CancelledError:
                self._loop.abort(request_id)
                raise
        finally:
            if self._loop.error is not None:
                _exit_soon()

    def _params(self, params: SamplingParams, seed: int) -> object:
        from actors.sampler.vllm_engine import sampling_params

        return sampling_params(params, seed, self._banned)

    def _response(self, generation: Generation) -> Response:
        return Response(
            prompt_token_ids=generation.prompt_token_ids,
            token_ids=generation.token_ids,
            text=self._processor.tokenizer.decode(generation.token_ids, skip_special_tokens=True),
            logprobs=generation.logprobs,
            policy_version=generation.version,
            is_truncated=generation.is_truncated,
        )

    def _remember(self, request: SampleRequest) -> None:
        probe = _greedy(request)
        if probe not in self._probes:
            self._probes.append(probe)

    def _synthetic_probe(self) -> SampleRequest:
        """Return a request about two colour gradients, so that a publish before any task is verified too."""
        ramp = np.linspace(0, 255, 64, dtype=np.uint8)
        field = np.stack(
            [np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 128, np.uint8)], -1
        )
        images = tuple(self._store.put_image(Image.fromarray(picture)) for picture in (field, 255 - field))
        images = images[: self._config.max_images]
        parts = [{"type": "image"}] * len(images) + [{"type": "text", "text": "What changed between the images?"}]
        message = {"role": "user", "content": parts}
        return _greedy(SampleRequest((message,), images, SamplingParams(), seed=0))


def _exit_soon() -> None:
    """Have Ray restart the actor."""
    asyncio.get_running_loop().call_later(_EXIT_S, os._exit, 1)


def _wake(engine: Any, tag: str) -> None:
    if engine.is_sleeping():
        engine.wake_up([tag])


def _greedy(request: SampleRequest) -> SampleRequest:
    return replace(request, params=SamplingParams(temperature=0.0, max_tokens=_PROBE_TOKENS), seed=0)


def build_engine(config: SamplerConfig, model: str, size: Mapping[str, int], worker_class: str) -> SteppedEngine:
    """Import vLLM, which takes seconds, and make the engine."""
    from actors.sampler import vllm_engine

    return vllm_engine.build_engine(config, model, size, worker_class)
