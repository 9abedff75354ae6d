"""Publishes by every transport, whole and as changes, with faults in them. Slow: real ranks and a real vLLM engine."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, product

import pytest

from actors.config import SamplerConfig
from actors.sampler.sampler import Samplers
from actors.weights.publish import publish as publish_weights
from benchmarks.publish_cycles import Found, publish_often, report
from rollout.roles import PublishError
from rollout.types import Batch, Response
from tests.support.faulty_engine import FaultyEngine
from tests.support.stack import MAX_PIXELS, Stack
from tests.support.tensor_source import TensorSource

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRANSPORTS = {"shared_memory": "shared_memory", "broadcast": "gloo", "object_store": "object_store"}
NUM_PUBLISHES = 20
"""Of random changes; `python -m benchmarks.publish_cycles` makes 200."""
FAULTS = {
    "skipped_bucket": r"tensors (never arrived|differ in the engine)",
    "flipped_bit": "tensors differ in the engine: ",
    "flipped_live_bit": "1 tensors differ in the engine: model.language_model.layers.0.mlp.down_proj.weight",
    "stale_head": "off in log-prob",
    "stale_encoder": "off in log-prob",
}


@pytest.fixture(autouse=True)
def _settings(stack: Stack) -> Iterator[None]:
    before: SamplerConfig = stack.samplers.config
    yield
    stack.samplers.config = before


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest, stack: Stack) -> str:
    stack.samplers.config = replace(stack.samplers.config, transport=request.param)
    return TRANSPORTS[request.param]


def publish(stack: Stack, *, is_delta: bool) -> dict[str, float]:
    stack.samplers.config = replace(stack.samplers.config, is_delta=is_delta)
    metrics: dict[str, float] = stack.run(stack.policy.publish(stack.samplers))
    assert metrics["publish/max_logprob_gap"] < 1e-4
    assert metrics["publish/live_coverage"] == 1.0
    return metrics


def learn(stack: Stack) -> None:
    stack.run(stack.policy.update(Batch(tuple(stack.rows(2)))))


def test_changes_alone_are_sent(stack: Stack, transport: str):
    first = publish(stack, is_delta=True)
    again = publish(stack, is_delta=True)
    assert again["publish/is_delta"] == 1.0
    assert again["publish/bytes"] == again[f"publish/{transport}_bytes"] == 0.0
    learn(stack)  # at this size every weight changes: all tensors are sent whole
    assert publish(stack, is_delta=True)["publish/bytes"] == first["publish/copy_bytes"] > 0
    assert publish(stack, is_delta=False)["publish/is_delta"] == 0.0


@pytest.mark.parametrize(
    ("transport", "fault", "is_delta"),
    [
        (transport, fault, is_delta)
        for (fault, is_delta), transport in zip(product(FAULTS, [False, True]), cycle(TRANSPORTS), strict=False)
    ],
    indirect=["transport"],
)
def test_a_fault_is_noticed(stack: Stack, transport: str, fault: str, is_delta: bool):
    """Each fault in what is sent whole and as changes; the next publish after the fault is mended succeeds."""
    publish(stack, is_delta=is_delta)
    learn(stack)
    stack.run(stack.samplers.each("set_fault", fault))
    with pytest.raises(PublishError, match=FAULTS[fault]):
        publish(stack, is_delta=is_delta)
    stack.run(stack.samplers.each("set_fault", ""))
    assert publish(stack, is_delta=is_delta)["publish/is_delta"] == 0.0


def test_changes_on_a_wrong_base_are_replaced_by_all_weights(stack: Stack, transport: str):
    publish(stack, is_delta=True)
    stack.run(stack.samplers.each("set_fault", "wrong_base"))
    assert publish(stack, is_delta=True)["publish/is_delta"] == 0.0
    stack.run(stack.samplers.each("set_fault", ""))


def test_a_sampler_that_slept_is_sent_what_is_never_trained(stack: Stack, transport: str):
    """An adapter's base is sent once, but for those who have lost it; the policy agrees with what is drawn then."""
    stack.samplers.config = replace(stack.samplers.config, is_delta=False)
    _, adapted = (stack.run(stack.adapted.publish(stack.samplers)) for _ in range(2))
    stack.run(stack.samplers.sleep())
    woken, again = (stack.run(stack.adapted.publish(stack.samplers)) for _ in range(2))
    assert woken["publish/max_logprob_gap"] < 1e-4
    assert woken["publish/live_coverage"] == 1.0
    assert woken["publish/bytes"] > adapted["publish/bytes"] == again["publish/bytes"]


@pytest.mark.parametrize("transport", ["broadcast"], indirect=True)
def test_a_sampler_that_dies_in_mid_transfer_is_waited_for(stack: Stack, transport: str):
    """The ranks stay in step, though the first one's sending fails midway.

    By each transport, and where an engine is split: `python -m benchmarks.publish_cycles`.
    """
    publish(stack, is_delta=True)
    learn(stack)
    stack.run(stack.samplers.each("set_fault", "death"))
    assert publish(stack, is_delta=True)["publish/is_delta"] == 0.0
    assert stack.run(stack.samplers.sample(stack.request(2))).policy_version == stack.policy.version


@pytest.fixture(scope="module")
def split(stack: Stack) -> Iterator[Samplers]:
    """An engine that is split over two workers."""
    config = replace(stack.samplers.config, tensor_parallel_size=2)
    samplers = stack.run(
        Samplers.start(
            config, str(stack.model), store_root=stack.store.root, max_pixels=MAX_PIXELS, engine_class=FaultyEngine
        )
    )
    yield samplers
    stack.run(samplers.shutdown())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_shard_is_compared_where_it_is(stack: Stack, split: Samplers, transport: str):
    split.config = replace(split.config, transport=transport)
    for _ in range(2):  # by vLLM's loader, then straight
        metrics = stack.run(stack.policy.publish(split))
        assert metrics["publish/live_coverage"] == 1.0
        assert metrics["publish/max_logprob_gap"] < 1e-4
        learn(stack)
    stack.run(split.each("set_fault", "flipped_live_bit"))  # in the second shard
    with pytest.raises(PublishError, match=FAULTS["flipped_live_bit"]):
        stack.run(stack.policy.publish(split))
    stack.run(split.each("set_fault", ""))
    stack.run(stack.policy.publish(split))


def test_a_split_engine_draws_what_a_whole_one_does(stack: Stack, split: Samplers):
    """The same tokens for the same seed, alone and in a batch, after a publish of changes alone."""
    split.config = replace(split.config, is_delta=True, transport="auto")
    for samplers in (split, split, stack.samplers):
        stack.run(stack.policy.publish(samplers))
    requests = [stack.request(number) for number in range(6)]

    async def all_of(samplers: Samplers) -> list[Response]:
        return list(await asyncio.gather(*map(samplers.sample, requests)))

    whole, crowd = stack.run(all_of(stack.samplers)), stack.run(all_of(split))
    assert [answer.token_ids.tolist() for answer in crowd] == [answer.token_ids.tolist() for answer in whole]
    assert stack.run(split.sample(requests[3])).token_ids.tolist() == crowd[3].token_ids.tolist()
    for answer, expected in zip(crowd, whole, strict=True):
        assert answer.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_publishes_leave_every_bit_in_its_place(stack: Stack, split: Samplers):
    """Of everything, the vision tower alone, or few values; by any transport, whole or as changes."""
    found = stack.run(publish_often(TensorSource(stack.model), (stack.samplers, split), NUM_PUBLISHES))
    assert found.faults == []
    assert min(found.ways[True], found.ways[False]) > 2
    assert found.num_publishes == NUM_PUBLISHES
    assert set(found.transports) == set(TRANSPORTS)


def test_a_tensor_out_of_place_is_a_miss(stack: Stack, split: Samplers):
    """What is compared is what the engine holds: a bit of it that is flipped after the publish would be seen."""
    source = TensorSource(stack.model)
    stack.run(publish_weights(source, stack.samplers))
    [right] = stack.run(stack.samplers.each("differing", source.weights))
    source.change("few values")
    [wrong] = stack.run(stack.samplers.each("differing", source.weights))
    assert right == [] != wrong


def test_a_benchmark_with_a_fault_or_of_one_way_ends_with_1(capsys: pytest.CaptureFixture[str]):
    both = Counter({True: 15, False: 5})
    assert report(Found(20, both, num_deaths=6), 1.0) == 0
    assert report(Found(20, both, faults=["publish 3 by broadcast: head differs"], num_deaths=6), 1.0) == 1
    assert report(Found(20, Counter({True: 18, False: 2}), num_deaths=6), 1.0) == 1
    assert report(Found(20, both, num_deaths=5), 1.0) == 1
    said = capsys.readouterr().out
    assert "missed: publish 3 by broadcast: head differs" in said
    assert "missed: only 2 of 20 publishes went one of the ways" in said
    assert "missed: 5 deaths in mid-transfer; expected 6" in said
