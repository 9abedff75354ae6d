"""Sampler, policy and generator as a run has them, only that all of them share one GPU.

Prints what each part takes and how far the sampler's and plain transformers' log-probabilities are from the policy's.
"""

import argparse
import asyncio
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gpu.models import write_critic, write_generator  # first: it adapts a CPU torch

import numpy as np  # isort: skip
import ray
from PIL import Image

from actors.config import GeneratorConfig, LoraConfig, LossConfig, PolicyConfig, SamplerConfig
from actors.generator.kind import resolve
from actors.generator.pipeline import Pipeline
from actors.policy.policy import Policy
from actors.sampler.sampler import Samplers
from actors.store.store import Store, load_images
from actors.weights.publish import publish
from rollout.types import Batch, EditRequest, Response, SampleRequest, SamplingParams, TrainingRow

_QUESTION = "Compare the two images and say whether the step succeeded, why, and what the prompt should have been."
_GROUP = 8


def main(chosen: argparse.Namespace) -> int:
    """Measure a critic's step and a generator's batches."""
    print(f"{_gpu('name')}, torch {_version('torch')}, vllm {_version('vllm')}, verl {_version('verl')}", flush=True)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        if chosen.critic:
            asyncio.run(measure_critic(chosen, Path(folder)))
        if chosen.generator:
            measure_generator(chosen, Path(folder))
    return 0


async def measure_critic(chosen: argparse.Namespace, folder: Path) -> None:
    """Sample, compare, update and publish, as a step of training does."""
    with _timed(f"{chosen.critic}: random weights written"):
        model = write_critic(chosen.critic, folder / "critic")
    store = Store(folder / "store")
    # To Ray there is a GPU for each actor; this process has met its own already.
    os.environ["CUDA_VISIBLE_DEVICES"] = "0,0"
    ray.init(
        address="local", num_cpus=16, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    with _peak_memory("sampler and policy"):
        samplers, policy = await _start(chosen, model, store)
        _show("publish", await publish(policy, samplers))
        requests = _requests(store, chosen)
        started = time.monotonic()
        responses = await asyncio.gather(*map(samplers.sample, requests))
        _rate("sampled", sum(len(response.token_ids) for response in responses), "tokens", started)
        rows = [
            _row(request, answer, number)
            for number, (request, answer) in enumerate(zip(requests, responses, strict=True))
        ]
        await _compare(policy, model, store, rows, requests)
        for _ in range(2):  # the first one also warms up
            started = time.monotonic()
            metrics = await policy.update(Batch(tuple(rows), temperature=1.0))
            num_tokens = sum(len(row.prompt_token_ids) + len(row.token_ids) for row in rows)
            _rate("update", num_tokens, "tokens", started)
        _show("update", metrics)
        _show("publish", await publish(policy, samplers))
    ray.shutdown()


async def _start(chosen: argparse.Namespace, model: Path, store: Store) -> tuple[Samplers, Policy]:
    """Start the sampler first: vLLM measures how much memory is free."""
    longest = 2 * (chosen.pixels // 32) ** 2 + chosen.tokens + 512
    sampling = SamplerConfig(
        gpus_per_sampler=1,
        dtype="bfloat16",
        max_model_len=longest,
        max_num_seqs=chosen.samples,
        max_num_batched_tokens=16384,
        enforce_eager=not chosen.graphs,
        gpu_memory_utilization=chosen.memory,
        publish_tolerance=0.2,
    )
    training = PolicyConfig(
        model=str(model),
        num_ranks=1,
        gpus_per_rank=1,
        dtype="bfloat16",
        attn_implementation=chosen.attention,
        is_packed=chosen.attention != "sdpa",
        max_tokens_per_micro_batch=max(8192, longest),
        gradient_checkpointing=True,
        freeze_vision=True,
        lora=LoraConfig(rank=chosen.lora, alpha=max(1, chosen.lora)),
        lr=1e-5,
    )
    with _timed("sampler up"):
        samplers = await Samplers.start(sampling, str(model), store_root=store.root)
    with _timed("policy up"):
        policy = await Policy.start(training, LossConfig(), store_root=store.root, total_steps=10, temperature=1.0)
    return samplers, policy


def _requests(store: Store, chosen: argparse.Namespace) -> list[SampleRequest]:
    """Return groups of requests, each about two images of its own."""
    requests = []
    for number in range(chosen.samples):
        dice = np.random.RandomState(number // _GROUP)
        pair = tuple(store.put_image(_picture(dice, chosen.pixels)) for _ in range(2))
        parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": _QUESTION}]
        message = {"role": "user", "content": parts}
        requests.append(SampleRequest((message,), pair, SamplingParams(1.0, chosen.tokens), seed=number))
    return requests


def _picture(dice: np.random.RandomState, pixels: int) -> Image.Image:
    coarse = Image.fromarray(dice.randint(0, 255, (16, 16, 3)).astype(np.uint8))
    return coarse.resize((pixels, pixels), Image.Resampling.BICUBIC)


def _row(request: SampleRequest, response: Response, number: int) -> TrainingRow:
    advantages = (1.0 if number % 2 else -1.0,) * len(response.token_ids)
    return TrainingRow(request.images, response.prompt_token_ids, response.token_ids, advantages, response.logprobs)


async def _compare(
    policy: Policy, model: Path, store: Store, rows: Sequence[TrainingRow], requests: Sequence[SampleRequest]
) -> None:
    """Print how far sampler and plain transformers are from the policy, in log-probability a token."""
    found = await policy.logprobs(rows[:_GROUP], 1.0)
    _gap("sampler", found, [row.rollout_logprobs.tolist() for row in rows[:_GROUP]])
    expected = await asyncio.to_thread(_plain_logprobs, model, store, rows[:2], requests[:2])
    _gap("transformers", found[:2], expected)


def _plain_logprobs(
    model: Path, store: Store, rows: Sequence[TrainingRow], requests: Sequence[SampleRequest]
) -> list[list[float]]:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from actors.banned_tokens import banned_tokens

    critic = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.bfloat16).to("cuda").eval()
    processor = AutoProcessor.from_pretrained(model)
    banned = list(banned_tokens(critic.config))
    answers = []
    for row, request in zip(rows, requests, strict=True):
        text = processor.apply_chat_template(list(request.messages), tokenize=False, add_generation_prompt=True)
        inputs = processor(text=[text], images=load_images(store, request.images), return_tensors="pt").to("cuda")
        tail = torch.tensor(row.token_ids[None], dtype=torch.long, device="cuda")
        inputs["input_ids"] = torch.cat([inputs["input_ids"], tail], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if "mm_token_type_ids" in inputs:
            kinds = inputs["mm_token_type_ids"]
            inputs["mm_token_type_ids"] = torch.cat([kinds, kinds.new_zeros(1, tail.shape[1])], 1)
        with torch.no_grad():
            logits = critic(**inputs).logits[0, -tail.shape[1] - 1 : -1].float()
        logits[:, banned] = -torch.inf
        answers.append(logits.log_softmax(-1).gather(-1, tail[0, :, None])[:, 0].tolist())
    return answers


def measure_generator(chosen: argparse.Namespace, folder: Path) -> None:
    """Edit one image in batches of several sizes."""
    import torch

    with _timed(f"{chosen.generator}: random weights written"):
        model = write_generator(chosen.generator, folder / "generator")
    torch.cuda.empty_cache()
    with _timed("pipeline up"):
        config = GeneratorConfig("flux2-klein", model=str(model), gpus_per_replica=1, dtype="bfloat16", num_replicas=0)
        pipeline = Pipeline(resolve(config))
    before = _picture(np.random.RandomState(0), chosen.pixels)
    with _peak_memory("generator"):
        for size in map(int, chosen.batches.split(",")):
            requests = [EditRequest(None, f"a red box, number {number}", number) for number in range(size)]
            pipeline.draw([before], None, requests)
            started = time.monotonic()
            pipeline.draw([before], None, requests)
            _rate(f"edited, batch of {size}", size, "images", started)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{what:<44} {time.monotonic() - started:9.1f} s", flush=True)


@contextmanager
def _peak_memory(what: str) -> Iterator[None]:
    """Print the most GPU memory in use meanwhile, by whomever."""
    readings, is_over = [0.0], threading.Event()

    def read() -> None:
        while not is_over.wait(0.5):
            readings.append(float(_gpu("memory.used").split()[0]) / 1024)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        print(f"{what + ': most GPU memory in use':<44} {max(readings):9.1f} GiB", flush=True)


def _rate(what: str, count: int, unit: str, started: float) -> None:
    seconds = time.monotonic() - started
    print(f"{what:<44} {count / seconds:9.2f} {unit}/s  ({count:,} in {seconds:.1f} s)", flush=True)


def _gap(what: str, ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> None:
    gaps = np.abs(np.concatenate([np.subtract(mine, other) for mine, other in zip(ours, theirs, strict=True)]))
    print(f"log-prob gap to {what:<28} {gaps.mean():9.4f} mean, {gaps.max():.4f} most", flush=True)


def _show(what: str, metrics: dict[str, Any]) -> None:
    for name, value in sorted(metrics.items()):
        print(f"{what + ': ' + name:<44} {value:9.4g}", flush=True)


def _gpu(field: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"benchmarks.gpu needs an NVIDIA GPU and nvidia-smi: {error}") from None


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)
