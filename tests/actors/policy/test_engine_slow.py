"""What ranks compute of groups is what they compute of padded rows: log-probabilities and every gradient."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from actors.config import LoraConfig, LossConfig, PolicyConfig
from actors.store.store import Store
from rollout.types import TrainingRow
from tests.support.policy_ranks import Case, Computed, compute

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LORA = LoraConfig(rank=4, alpha=8)
UNEQUAL = (4, 2, 1, 5)
"""Rows of each group: what is left of groups with failed samples, and a group of one."""


class World:
    """A random critic, images, and groups about them."""

    def __init__(self, folder: Path):
        from transformers import AutoProcessor

        from tests.support.tiny_models import build_tiny_critic

        self.model, self.store = build_tiny_critic(folder / "critic"), Store(folder / "store")
        dice = np.random.RandomState(0)
        pictures = [Image.fromarray(dice.randint(0, 255, (32, 32, 3)).astype(np.uint8)) for _ in range(4)]
        self.images = [self.store.put_image(picture) for picture in pictures]
        self.processor = AutoProcessor.from_pretrained(self.model)
        self.config = PolicyConfig(model=str(self.model), num_ranks=1, max_tokens_per_micro_batch=400)

    def rows(self, sizes: tuple[int, ...]) -> list[TrainingRow]:
        """Return groups of `sizes` rows, whose prompts and responses differ in length."""
        return [self._row(group, number) for group, size in enumerate(sizes) for number in range(size)]

    def _row(self, group: int, number: int) -> TrainingRow:
        pair = (self.images[group % 4], self.images[(group + 1) % 4])
        content = [*({"type": "image"} for _ in pair), {"type": "text", "text": "compare" + " and say why" * group}]
        text = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        prompt = self.processor(text=[text], images=[self.store.get_image(ref) for ref in pair])["input_ids"][0]
        dice = np.random.RandomState(100 * group + number)
        size = 4 + 3 * number + group
        return TrainingRow(
            pair,
            tuple(int(token) for token in prompt),
            tuple(dice.randint(10, 300, size=size).tolist()),
            (float(dice.randn()),) * size,
            tuple((0.1 * dice.randn(size) - 3).tolist()),
        )

    def compute(self, *cases: Case) -> list[Computed]:
        return compute(cases, store=self.store.root)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def assert_same(found: Computed, expected: Computed) -> None:
    for values, wanted in zip(found.logprobs, expected.logprobs, strict=True):
        assert values == pytest.approx(wanted, abs=1e-4)
    assert found.gradients.keys() == expected.gradients.keys()
    whole = torch.stack([gradient.norm() for gradient in expected.gradients.values()]).norm()
    for name, gradient in expected.gradients.items():
        distance = (found.gradients[name] - gradient).norm()
        assert distance <= 1e-5 * max(gradient.norm(), 1e-3 * whole), name
    for name in ("loss", "entropy", "grad_norm"):
        assert found.metrics[f"policy/{name}"] == pytest.approx(expected.metrics[f"policy/{name}"], rel=1e-4)


def plain(config: PolicyConfig) -> PolicyConfig:
    return replace(config, shared_prefix=False, is_packed=False)


@pytest.mark.parametrize(
    ("freeze_vision", "lora"),
    [(False, LoraConfig()), (True, LoraConfig()), (True, LORA), (False, LORA)],  # the last: adapters in the tower, too
    ids=["trained", "frozen", "lora", "lora-trained"],
)
def test_one_rank(world: World, freeze_vision: bool, lora: LoraConfig):
    """Slow: it needs verl's engine. Shared, packed and padded; with gradient checkpointing; groups that are cut."""
    config = replace(world.config, freeze_vision=freeze_vision, lora=lora)
    ways = [
        plain(config),
        config,
        replace(config, shared_prefix=False),
        replace(config, gradient_checkpointing=True),
        replace(config, gradient_checkpointing=True, kept_activations=0.5),
        replace(config, max_tokens_per_micro_batch=110),
    ]
    if not (freeze_vision or lora.rank):
        ways += [replace(config, compile_layers=True), replace(config, offload=True)]
    expected, *found = world.compute(*((way, LossConfig(), world.rows(UNEQUAL)) for way in ways))
    for one in found:
        assert_same(one, expected)


def updates(world: World, config: PolicyConfig) -> list[Case]:
    """Return updates of groups of unequal sizes, also with a KL, entropy and two steps, and one of a single row."""
    loss = LossConfig(num_mini_batches=2, kl_coef=0.1, entropy_coef=0.01, rollout_correction="token")
    rows = world.rows(UNEQUAL)
    return [(config, LossConfig(), rows), (config, loss, rows), (config, LossConfig(), world.rows((1,)))]


@pytest.fixture(scope="module")
def alone(world: World) -> list[Computed]:
    """What one rank makes of `updates`, each row by itself."""
    return world.compute(*updates(world, plain(world.config)))


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_several_ranks(world: World, alone: list[Computed], num_ranks: int):
    """Slow: it needs as many processes. Four ranks have fewer rows than ranks in the last update."""
    found = world.compute(*updates(world, replace(world.config, num_ranks=num_ranks)))
    for one, expected in zip(found, alone, strict=True):
        assert_same(one, expected)


@pytest.mark.parametrize("freeze_vision", [False, True], ids=["trained", "frozen"])
def test_ranks_that_share_sequences(world: World, freeze_vision: bool):
    """Slow: it needs as many processes. Ulysses over two ranks, whose key heads are fewer; each with all weights."""
    config, rows = replace(world.config, freeze_vision=freeze_vision), world.rows(UNEQUAL)
    shared = replace(config, num_ranks=2, sequence_parallel=2)
    [expected] = world.compute((plain(config), LossConfig(), rows))
    ways = shared, replace(shared, shard_ranks=1)
    for found in world.compute(*((way, LossConfig(), rows) for way in ways)):
        assert_same(found, expected)


@pytest.mark.parametrize("lora", [LoraConfig(), LORA], ids=["whole", "lora"])
def test_a_frozen_tower_sees_each_image_once_a_step(world: World, lora: LoraConfig):
    """Slow: it needs verl's engine. One that may learn sees them in each pass, the reference's beside it."""
    several = LossConfig(num_mini_batches=2, num_epochs=2, kl_coef=0.1)
    rows, frozen = world.rows(UNEQUAL), replace(world.config, freeze_vision=True, lora=lora)
    [found] = world.compute((frozen, several, rows))
    assert found.num_patches == len(UNEQUAL) * 2 * 64


def test_what_a_frozen_tower_remembers_is_what_it_would_compute(world: World):
    """Slow: it needs two ranks, one of which has less to compute. Text layers get the gradients of a trained one."""
    loss, rows = LossConfig(kl_coef=0.1, entropy_coef=0.01), world.rows((4, 1))
    trained = replace(world.config, num_ranks=2)
    found, expected = world.compute(
        *((replace(trained, freeze_vision=is_frozen), loss, rows) for is_frozen in (True, False))
    )
    of_text = {name: grad for name, grad in expected.gradients.items() if ".visual." not in name}
    metrics = expected.metrics | {"policy/grad_norm": found.metrics["policy/grad_norm"]}  # without the tower's
    assert_same(found, replace(expected, gradients=of_text, metrics=metrics))
    assert found.num_patches < expected.num_patches
