"""Adapters published as such, with faults in them. Slow: a real rank and real vLLM engines."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from actors.adapters import with_room
from actors.cluster import ray_cluster
from actors.config import LoraConfig, LossConfig, PolicyConfig, SamplerConfig
from actors.sampler.sampler import Samplers
from actors.store.store import Store
from rollout.roles import PublishError
from rollout.types import Batch, Response, SampleRequest, SamplingParams
from tests.support.faulty_engine import FaultyEngine
from tests.support.policy_in_plain_torch import load_model
from tests.support.stack import learn_from
from tests.support.tiny_models import build_tiny_critic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LORA = LoraConfig(rank=200, alpha=400)
"""So large that the adapters take two blocks, and less than the rank that vLLM makes room for."""
TRANSPORTS = ("shared_memory", "broadcast", "object_store")
OF_BLOCKS = {
    "skipped_bucket": r"tensors never arrived: .*\.lora_",
    "flipped_bit": r"1 tensors differ in the engine: .*\.lora_",
}
OF_ENGINES = {
    "flipped_adapter_bit": r"1 tensors differ in the engine: .*layers\.0\.mlp\.down_proj\.lora_B\.weight",
    "flipped_live_bit": r"1 tensors differ in the engine: .*layers\.0\.mlp\.down_proj\.weight",
    "unused_adapter": "off in log-prob",
}


@dataclass
class Trained:
    """A policy that trains adapters, and an engine that holds them."""

    model: Path
    policy: Any
    samplers: Samplers
    store: Store
    images: list[str]
    runner: asyncio.Runner

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    def request(self, number: int, temperature: float = 1.0) -> SampleRequest:
        content = [{"type": "image"}, {"type": "text", "text": "what is seen" + " here" * number}]
        params = SamplingParams(temperature, max_tokens=12)
        return SampleRequest(({"role": "user", "content": content},), (self.images[0],), params, number)

    def answers(self, samplers: Samplers, temperature: float = 1.0) -> list[Response]:
        async def ask() -> list[Response]:
            return list(await asyncio.gather(*[samplers.sample(self.request(one, temperature)) for one in range(3)]))

        answers: list[Response] = self.run(ask())
        return answers

    def answers_within(self, limit_s: float) -> bool:
        async def ask() -> bool:
            try:
                await asyncio.wait_for(self.samplers.sample(self.request(0)), limit_s)
            except TimeoutError:
                return False
            return True

        is_answered: bool = self.run(ask())
        return is_answered

    def learn(self) -> None:
        answers = self.answers(self.samplers)
        rows = [learn_from(self.request(one), answer, one - 1.0) for one, answer in enumerate(answers)]
        self.run(self.policy.update(Batch(tuple(rows))))

    def publish(self, samplers: Samplers, **settings: Any) -> dict[str, float]:
        samplers.config = replace(samplers.config, **settings)
        metrics: dict[str, float] = self.run(self.policy.publish(samplers))
        assert metrics["publish/max_logprob_gap"] < 1e-4
        assert metrics["publish/live_coverage"] == 1.0
        return metrics


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    from actors.policy.policy import Policy

    folder = tmp_path_factory.mktemp("trained")
    model, store = build_tiny_critic(folder / "critic"), Store(folder / "store")
    picture = np.random.RandomState(0).randint(0, 255, (32, 32, 3)).astype(np.uint8)
    images = [store.put_image(Image.fromarray(picture))]
    config = PolicyConfig(str(model), num_ranks=1, lr=1e-3, freeze_vision=True, lora=LORA)

    async def start() -> tuple[Any, Samplers]:
        engine = with_room(config, SamplerConfig(max_model_len=256, kv_cache_gib=0.1, bucket_mib=1, as_adapters=True))
        policy = Policy.start(config, LossConfig(), store_root=store.root, total_steps=20, temperature=1.0)
        samplers = Samplers.start(engine, str(model), store_root=store.root, engine_class=FaultyEngine)
        return await asyncio.gather(policy, samplers)

    with asyncio.Runner() as runner:
        cluster = ray_cluster("", 4)
        runner.run(cluster.__aenter__())
        try:
            yield Trained(model, *runner.run(start()), store, images, runner)
        finally:
            runner.run(cluster.__aexit__(None, None, None))


def test_adapters_alone_are_sent_and_answer_as_merged_weights_do(trained: Trained, tmp_path: Path):
    """Before training they change nothing; after it tokens and log-probabilities are those of the merged model."""
    import torch

    before = trained.answers(trained.samplers, temperature=0.0)
    first = trained.publish(trained.samplers)
    assert first["publish/bytes"] == 4 * LORA.rank * _sides_of_layers(trained.model)
    assert [one.token_ids.tolist() for one in trained.answers(trained.samplers, 0.0)] == [
        one.token_ids.tolist() for one in before
    ]
    trained.learn()
    assert trained.publish(trained.samplers)["publish/bytes"] == first["publish/bytes"]
    after = trained.answers(trained.samplers, temperature=0.0)
    assert {one.policy_version for one in after} == {trained.policy.version}
    assert [one.logprobs.tolist() for one in after] != [one.logprobs.tolist() for one in before]
    trained.run(trained.policy.export(tmp_path / "merged"))
    whole = trained.run(
        Samplers.start(
            replace(trained.samplers.config, as_adapters=False, adapter_rank=0),
            str(tmp_path / "merged"),
            store_root=trained.store.root,
            is_published=False,
        )
    )
    try:
        merged = trained.answers(whole, temperature=0.0)
    finally:
        trained.run(whole.shutdown())
    assert [one.token_ids.tolist() for one in after] == [one.token_ids.tolist() for one in merged]
    for answer, expected in zip(after, merged, strict=True):
        assert answer.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    assert torch.isfinite(torch.tensor(after[0].logprobs)).all()


def _sides_of_layers(model: Path) -> int:
    """Return inputs and outputs of all layers with an adapter, added up."""
    layers = load_model(model).model.language_model.layers
    return sum(sum(weight.shape) for name, weight in layers.named_parameters() if "_proj.weight" in name)


@pytest.mark.parametrize(
    ("transport", "fault"),
    [*((way, fault) for way in TRANSPORTS for fault in OF_BLOCKS), *((TRANSPORTS[0], fault) for fault in OF_ENGINES)],
)
def test_a_fault_is_noticed_and_mended_by_a_whole_publish(trained: Trained, transport: str, fault: str):
    trained.learn()  # from zero the first update changes one matrix of each adapter alone, which fill no block
    trained.publish(trained.samplers, transport=transport, is_delta=True)
    trained.learn()
    trained.run(trained.samplers.each("set_fault", fault))
    with pytest.raises(PublishError, match=(OF_BLOCKS | OF_ENGINES)[fault]):
        trained.publish(trained.samplers)
    if transport == TRANSPORTS[0]:
        assert not trained.answers_within(0.5)  # it is paused
    trained.run(trained.samplers.each("set_fault", ""))
    assert trained.publish(trained.samplers)["publish/is_delta"] == 0.0
    assert trained.publish(trained.samplers)["publish/bytes"] == 0.0  # of changes alone


def test_an_engine_that_slept_is_sent_the_model_too(trained: Trained):
    trained.samplers.config = replace(trained.samplers.config, is_delta=False, transport="auto")
    adapters = trained.publish(trained.samplers)["publish/bytes"]
    trained.run(trained.samplers.sleep())
    assert trained.publish(trained.samplers)["publish/bytes"] > 1.1 * adapters
    assert trained.publish(trained.samplers)["publish/bytes"] == adapters


def test_each_shard_holds_its_part_of_the_adapters(trained: Trained):
    config = replace(trained.samplers.config, tensor_parallel_size=2, is_delta=False, transport="auto")
    split = trained.run(
        Samplers.start(config, str(trained.model), store_root=trained.store.root, engine_class=FaultyEngine)
    )
    try:
        for _ in range(2):  # by vLLM's loader, then straight
            trained.publish(split)
            trained.learn()
        trained.run(split.each("set_fault", "flipped_adapter_bit"))  # in the second shard
        with pytest.raises(PublishError, match=OF_ENGINES["flipped_adapter_bit"]):
            trained.publish(split)
    finally:
        trained.run(split.shutdown())
