"""The real policy and a real sampler: what they compute equals transformers and plain torch, and each other."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from actors.policy.conversation_tokenizer import ConversationTokenizer
from actors.policy.image_tensors import ImagePreparer
from actors.weights.checksum import Checksum
from actors.weights.live import WHOLE
from actors.weights.wire import BaseTensor, Order
from rollout.roles import CheckpointError
from rollout.types import Batch, Response, SampleRequest, SamplingParams, TrainingRow
from tests.support.policy_in_plain_torch import (
    banned_tokens_of,
    load_model,
    load_weights,
    one_step_in_plain_torch,
    reference_logprobs,
)
from tests.support.sft_in_plain_torch import plain_batch, plain_losses
from tests.support.stack import LORA, LORA_LR, LR, Stack, learn_from

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("which", ["policy", "careful"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_equal_transformers(stack: Stack, which: str, temperature: float):
    """Slow: it needs verl's ranks. Packed and padded, two images a row, rows of different lengths."""
    stack.run(stack.policy.load(stack.start))
    rows = stack.rows(5)
    answers = stack.run(getattr(stack, which).logprobs(rows, temperature))
    references = reference_logprobs(stack, load_model(stack.model), rows, temperature)
    for row, expected, answer in zip(rows, references, answers, strict=True):
        assert answer == pytest.approx(expected.tolist(), abs=1e-4)
        assert len(answer) == len(row.token_ids)


def test_images_are_made_ahead_and_by_a_rank_where_nobody_has(stack: Stack):
    """Slow: it needs verl's ranks. What was made ahead needs the files no more; what was not, a rank makes of them."""
    stack.run(stack.policy.load(stack.start))
    [row] = stack.rows(1)
    files = [stack.store.image_path(image) for image in row.images if image is not None]
    stack.policy.prepare(row.images)
    ray.get(list(stack.policy._images._made.values()))
    away = [file.rename(file.with_suffix(".away")) for file in files]
    ahead = stack.run(stack.policy.logprobs([row]))
    for path, file in zip(away, files, strict=True):
        path.rename(file)
    images = stack.policy._images
    stack.policy._images = ImagePreparer([ray.remote(Broken).options(num_cpus=0).remote()])
    assert stack.run(stack.policy.logprobs([row])) == ahead
    stack.policy._images = images


class Broken:
    """An image worker that can make nothing."""

    def make(self, images: object) -> None:
        raise RuntimeError("out of memory")


def test_padding_rows_change_nothing(stack: Stack, tmp_path: Path):
    """Slow: it needs two ranks. Three rows on two ranks make the step that plain torch makes without padding."""
    import torch

    stack.run(stack.policy.load(stack.start))
    rows = stack.rows(3)
    metrics = stack.run(stack.policy.update(Batch(tuple(rows), temperature=0.8)))
    stack.run(stack.policy.export(tmp_path / "export"))
    trained, norm, loss = one_step_in_plain_torch(stack, rows, temperature=0.8)
    assert metrics["policy/grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert metrics["policy/loss"] == pytest.approx(loss, rel=1e-4)
    before, after = load_weights(stack.model), load_weights(tmp_path / "export")
    moved = torch.cat([(after[name] - before[name]).flatten() for name in sorted(before)])
    expected = torch.cat([(trained[name] - before[name]).flatten() for name in sorted(before)])
    # Adam's first step is lr * sign(gradient): where a gradient is noise around 0 its sign is, too.
    assert ((moved - expected).abs() > LR / 10).float().mean() < 1e-3
    assert moved.abs().max() == pytest.approx(LR, rel=0.01)


@pytest.mark.parametrize("which", ["policy", "adapted"])
def test_a_resumed_policy_makes_the_same_next_update(stack: Stack, which: str, tmp_path: Path):
    """Slow: it needs verl's ranks. Optimizer moments, schedule and version come back with the weights."""
    policy, batch = getattr(stack, which), Batch(tuple(stack.rows(4)))
    stack.run(policy.update(batch))
    stack.run(policy.save(tmp_path / "saved"))
    version = policy.version
    first = stack.run(policy.update(batch)), stack.run(policy.logprobs(batch.rows))
    stack.run(policy.update(batch))
    stack.run(policy.load(tmp_path / "saved"))
    assert policy.version == version
    second = stack.run(policy.update(batch)), stack.run(policy.logprobs(batch.rows))
    assert first[0]["policy/grad_norm"] == second[0]["policy/grad_norm"]
    assert first[1] == second[1]


@pytest.mark.parametrize("which", ["policy", "adapted"])
def test_an_export_is_the_policy(stack: Stack, which: str, tmp_path: Path):
    """Slow: it needs verl's ranks. transformers loads it with nothing missing and computes the same."""
    from transformers import AutoProcessor, GenerationConfig

    rows, policy = stack.rows(3), getattr(stack, which)
    stack.run(policy.update(Batch(tuple(rows))))
    stack.run(policy.export(tmp_path / "export"))
    expected = reference_logprobs(stack, load_model(tmp_path / "export"), rows, 1.0)
    for answer, reference in zip(stack.run(policy.logprobs(rows, 1.0)), expected, strict=True):
        assert answer == pytest.approx(reference.tolist(), abs=1e-4)
    assert AutoProcessor.from_pretrained(tmp_path / "export").chat_template == stack.processor.chat_template
    tokenizer = stack.processor.tokenizer
    ends = GenerationConfig.from_pretrained(tmp_path / "export").eos_token_id
    assert ends == [tokenizer.eos_token_id, tokenizer.pad_token_id]


def test_mini_batches_reference_and_frozen_vision(stack: Stack, tmp_path: Path):
    """Slow: it needs verl's engine twice, the policy's and the reference's."""
    batch = Batch(tuple(stack.rows(5)))
    first = stack.run(stack.careful.update(batch))
    second = stack.run(stack.careful.update(batch))
    assert first["policy/reference_kl"] == pytest.approx(0, abs=1e-6)
    assert second["policy/reference_kl"] > 1e-4
    # The second mini-batch is learned from by weights that the first has moved.
    assert first["policy/ratio"] != pytest.approx(1, abs=1e-6)
    assert 0 <= first["policy/clip_fraction"] <= 1
    stack.run(stack.careful.export(tmp_path / "export"))
    before, after = load_weights(stack.model), load_weights(tmp_path / "export")
    is_moved = {name: not before[name].equal(after[name]) for name in before}
    assert not any(moved for name, moved in is_moved.items() if "visual" in name)
    assert all(moved for name, moved in is_moved.items() if "language_model.layers" in name)


@pytest.mark.parametrize("which", ["policy", "adapted"])
def test_the_sampler_follows_the_policy(stack: Stack, which: str):
    """Slow: it needs both engines. After each publish the sampler's log-probabilities are the policy's."""
    banned, policy = set(banned_tokens_of(stack)), getattr(stack, which)
    for _ in range(3):
        metrics = stack.run(policy.publish(stack.samplers))
        assert metrics["publish/max_logprob_gap"] < 1e-4
        assert metrics["publish/live_coverage"] == 1.0
        requests = [stack.request(number, temperature=0.8) for number in range(6)]
        responses = stack.run(sample_all(stack, requests))
        pairs = list(zip(requests, responses, strict=True))
        rows = [learn_from(*pair, advantage=(-1.0) ** number) for number, pair in enumerate(pairs)]
        for row, expected in zip(rows, stack.run(policy.logprobs(rows, 0.8)), strict=True):
            assert list(row.rollout_logprobs) == pytest.approx(expected, abs=1e-4)
            assert not banned & set(row.token_ids.tolist())
        assert {response.policy_version for response in responses} == {policy.version}
        for request, response in pairs:
            assert list(response.prompt_token_ids) == stack.inputs(request)["input_ids"][0].tolist()
        update = stack.run(policy.update(Batch(tuple(rows), temperature=0.8)))
        assert update["policy/sampler_gap_max"] < 1e-4


def test_equal_requests_give_equal_responses(stack: Stack):
    """Slow: it needs vLLM. A response depends on its request alone, not on what shares its batch."""
    alone = stack.run(stack.samplers.sample(stack.request(1)))
    crowd = stack.run(sample_all(stack, [stack.request(number) for number in range(8)]))
    assert crowd[1].token_ids.tolist() == alone.token_ids.tolist()
    assert len({tuple(response.token_ids) for response in crowd}) > 4


def test_a_burst_of_prompts_larger_than_a_batch(stack: Stack):
    """Slow: it needs vLLM. On CPU a prompt is read at once: to read one in pieces kills the engine."""

    def long_request(number: int) -> SampleRequest:
        request = stack.request(number)
        parts = [*request.messages[0]["content"], {"type": "text", "text": f" {number}" + " say why" * 40}]
        return replace(request, messages=({"role": "user", "content": parts},))

    async def burst():
        await stack.samplers.each("begin_publish", {})  # nothing is read before all are there
        tasks = [asyncio.create_task(stack.samplers.sample(long_request(number))) for number in range(40)]
        await asyncio.sleep(1.0)
        await stack.policy.publish(stack.samplers)
        return await asyncio.gather(*tasks)

    responses = stack.run(burst())
    assert sum(len(response.prompt_token_ids) for response in responses) > stack.samplers.config.max_num_batched_tokens
    assert all(len(response.token_ids) for response in responses)


def test_a_publish_in_mid_flight(stack: Stack):
    """Slow: it needs both engines. Running requests go on; they are as old as their first token."""

    async def publish_while_sampling():
        requests = [stack.request(number, max_tokens=300) for number in range(8)]
        before = await stack.samplers.stats()
        tasks = [asyncio.create_task(stack.samplers.sample(request)) for request in requests]
        while (await stack.samplers.stats())["samplers/tokens"] == before["samplers/tokens"]:
            await asyncio.sleep(0.01)
        await stack.policy.publish(stack.samplers)
        return await asyncio.gather(*tasks), await stack.samplers.sample(stack.request(0))

    stack.run(stack.policy.publish(stack.samplers))
    old = stack.policy.version
    stack.run(stack.policy.update(Batch(tuple(stack.rows(2)))))
    crossing, later = stack.run(publish_while_sampling())
    assert old in {response.policy_version for response in crossing}
    assert later.policy_version == old + 1


def test_a_cancelled_request_leaves_the_engine(stack: Stack):
    """Slow: it needs vLLM in an actor. The longest of several answers is not drawn to its end."""
    requests = [stack.request(number, max_tokens=400) for number in range(8)]
    lengths = [len(answer.token_ids) for answer in stack.run(sample_all(stack, requests))]

    async def cancel() -> float:
        before = (await stack.samplers.stats())["samplers/tokens"]
        task = asyncio.create_task(stack.samplers.sample(requests[lengths.index(max(lengths))]))
        while not sum(await stack.samplers.each("num_unfinished")):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while sum(await stack.samplers.each("num_unfinished")):
            await asyncio.sleep(0.01)
        return (await stack.samplers.stats())["samplers/tokens"] - before

    assert stack.run(cancel()) < max(lengths)


def test_a_killed_sampler_answers_once_it_is_back_and_has_weights(stack: Stack):
    """Slow: it restarts vLLM. Until the next publish nothing is sampled from the weights it started with."""

    async def kill_while_sampling() -> Response:
        task = asyncio.create_task(stack.samplers.sample(stack.request(2, max_tokens=400)))
        await asyncio.sleep(0.2)
        ray.kill(stack.samplers.engines[0], no_restart=False)
        await stack.samplers.ready()
        await asyncio.sleep(3.0)
        assert await stack.samplers.lack_weights()
        assert not task.done()
        await stack.policy.publish(stack.samplers)
        return await task

    assert stack.run(kill_while_sampling()).policy_version == stack.policy.version


def test_a_run_folder_that_a_rank_does_not_see_is_refused(stack: Stack, tmp_path: Path, monkeypatch):
    """Slow: it asks verl's ranks."""
    stack.run(stack.policy.check_folder(tmp_path))

    async def answers(method, path):
        assert Path(path).exists()
        return [True, False]

    monkeypatch.setattr(stack.policy, "_call", answers)
    with pytest.raises(CheckpointError, match="rank 1 of the policy does not see it; set run_dir"):
        stack.run(stack.policy.check_folder(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", ["policy", "careful", "adapted"])
def test_sft_is_a_plain_loop_of_transformers_and_torch(stack: Stack, which: str, tmp_path: Path):
    """Slow: it needs verl's ranks. Two ranks, packed, all trained; one rank, padded, the vision tower frozen; LoRA."""
    policy = getattr(stack, which)
    start = {"policy": stack.start, "careful": stack.careful_start, "adapted": stack.adapted_start}[which]
    stack.run(policy.load(start))
    stack.run(policy.export(tmp_path / "start"))
    maker = ConversationTokenizer(stack.processor, stack.store)
    batches = [conversations(stack, number) for number in range(6)]
    losses = []
    for batch in batches:
        examples = [maker.make(*conversation) for conversation in batch]
        before = sum(stack.run(policy.losses(examples))) / sum(example.num_target_tokens for example in examples)
        losses.append(stack.run(policy.fit(examples))["sft/loss"])
        assert before == pytest.approx(losses[-1], abs=1e-5)
    plain = [plain_batch(stack.processor, stack.store, batch) for batch in batches]
    model, lr = load_model(stack.model), LR
    if which == "careful":
        model.model.visual.requires_grad_(False)
    if which == "adapted":
        model, lr = with_adapter(model, tmp_path / "start", is_trainable=True), LORA_LR
    assert losses == pytest.approx(plain_losses(model, plain, lr=lr), abs=1e-4)
    assert losses[-1] < losses[0] - 0.1


def test_a_lesson_asks_what_the_sampler_is_asked(stack: Stack):
    """Slow: it needs vLLM. Its prompt is, token by token, what the engine makes of the same messages and images."""
    maker = ConversationTokenizer(stack.processor, stack.store)
    for messages, images in conversations(stack, 0):
        request = SampleRequest(tuple(messages[:-1]), images, SamplingParams(temperature=0.0, max_tokens=4), seed=0)
        response = stack.run(stack.samplers.sample(request))
        example = maker.make(messages, images)
        before_answer = [*example.prompt_token_ids.tolist(), *example.token_ids.tolist()]
        num_target_tokens = len(maker.make([*messages[:1], *messages[-1:]], images).token_ids)
        assert response.prompt_token_ids.tolist() == before_answer[:-num_target_tokens]


async def base_tensors(stack: Stack, dtype: str) -> Mapping[str, BaseTensor]:
    return await stack.adapted.base_tensors(Order(0, dtype, 1 << 20, "auto", (), await stack.adapted.tensor_shapes()))


def test_lora_trains_adapters_alone(stack: Stack, tmp_path: Path):
    """Slow: it needs verl's ranks. The model below is as it was, to the bit; the folder `adapter` is the change."""
    import torch

    stack.run(stack.adapted.update(Batch(tuple(stack.rows(4)))))
    # float64: in a dtype that was not asked for before, so that nothing is remembered from the start.
    origins = stack.run(base_tensors(stack, "float64"))
    before = load_weights(stack.model)
    before["lm_head.weight"] = before["model.language_model.embed_tokens.weight"]
    assert {name: origin.checksums for name, origin in origins.items()} == {
        name: {WHOLE: Checksum.of(tensor.double())} for name, tensor in before.items()
    }
    trained = {name for name, origin in origins.items() if origin.is_trained}
    assert trained == {name for name in before if "language_model.layers" in name and "proj" in name}
    stack.run(stack.adapted.export(tmp_path / "export"))
    after = load_weights(tmp_path / "export")
    assert {name for name in after if not after[name].equal(before[name])} == trained
    rows = stack.rows(3)
    model = with_adapter(load_model(stack.model), tmp_path / "export")
    for answer, expected in zip(
        stack.run(stack.adapted.logprobs(rows)), reference_logprobs(stack, model, rows, 1.0), strict=True
    ):
        assert answer == pytest.approx(expected.tolist(), abs=1e-4)
    for name in trained:
        change = after[name] - before[name]
        assert 0 < torch.linalg.matrix_rank(change, atol=1e-5) <= LORA.rank


def test_the_reference_is_the_model_without_its_adapters(stack: Stack):
    """Slow: it needs verl's ranks. The KL is that to the initial model, and the adapters go on learning after it."""
    import torch

    rows = stack.rows(4)
    stack.run(stack.adapted.update(Batch(tuple(rows))))
    present = torch.tensor([value for answer in stack.run(stack.adapted.logprobs(rows)) for value in answer])
    initial = torch.cat(reference_logprobs(stack, load_model(stack.model), rows, 1.0))
    expected = ((initial - present).exp() - 1 - (initial - present)).mean().item()
    metrics = stack.run(stack.adapted.update(Batch(tuple(rows))))
    assert metrics["policy/reference_kl"] == pytest.approx(expected, rel=1e-3)
    assert expected > 1e-3
    again = torch.tensor([value for answer in stack.run(stack.adapted.logprobs(rows)) for value in answer])
    assert (again - present).abs().max() > 1e-3


def test_with_lora_only_what_changes_is_sent(stack: Stack):
    """Slow: it needs both engines. A sampler that was at other weights is sent all of them."""
    stack.run(stack.policy.update(Batch(tuple(stack.rows(2)))))
    whole = stack.run(stack.policy.publish(stack.samplers))["publish/bytes"]
    first, second = (stack.run(stack.adapted.publish(stack.samplers)) for _ in range(2))
    assert first["publish/bytes"] == whole
    trained = [origin.shape for origin in stack.run(base_tensors(stack, "float32")).values() if origin.is_trained]
    assert second["publish/bytes"] == 4 * sum(rows * columns for rows, columns in trained) < whole / 2
    assert first["publish/live_coverage"] == second["publish/live_coverage"] == 1.0


def test_a_checkpoint_of_adapters_is_refused_by_another_model(stack: Stack, tmp_path: Path):
    """Slow: it needs verl's ranks. It holds nothing but adapters, and what they belong to."""
    assert sum(file.stat().st_size for file in stack.adapted_start.glob("model_*")) < 0.3 * sum(
        file.stat().st_size for file in stack.start.glob("model_*")
    )
    for policy, folder in ((stack.adapted, stack.start), (stack.policy, stack.adapted_start)):
        with pytest.raises(ValueError, match="saved with other adapters, or on another model"):
            stack.run(policy.load(folder))


def with_adapter(model, export: Path, *, is_trainable: bool = False):
    """Put the exported adapter on a plain model, as peft does."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, export / "adapter", is_trainable=is_trainable)


def conversations(stack: Stack, number: int) -> list:
    """Return two images a example, one example with a white canvas, one of several turns, one of words alone."""
    found = []
    for place in range(5):
        request = stack.request(number + place)
        images = (None, request.images[1]) if place == 1 else request.images
        answer = "the left circle is red" + " and the square blue" * ((number + place) % 3)
        found.append(([*request.messages, {"role": "assistant", "content": answer}], images))
    found[2][0].extend([{"role": "user", "content": "why"}, {"role": "assistant", "content": f"so {number}"}])
    words = [{"role": "user", "content": "say red"}, {"role": "assistant", "content": "red"}]
    return [*found, (words, ())]


async def sample_all(stack: Stack, requests):
    return await asyncio.gather(*[stack.samplers.sample(request) for request in requests])


def test_a_gradient_that_is_not_finite_changes_nothing_and_its_row_is_named(stack: Stack):
    """Slow: it needs verl's ranks, whose gradients are what overflows."""
    stack.run(stack.policy.load(stack.start))
    rows = stack.rows(5)
    before = stack.run(stack.policy.logprobs(rows))
    bad = rows[3]
    endless = TrainingRow(
        bad.images, bad.prompt_token_ids, bad.token_ids, (math.inf,) * len(bad.token_ids), bad.rollout_logprobs
    )
    metrics = stack.run(stack.policy.update(Batch((*rows[:3], endless, rows[4]))))
    assert not math.isfinite(metrics["policy/grad_norm"])
    assert metrics["policy/not_finite_row"] == 3
    assert stack.run(stack.policy.logprobs(rows)) == before
    assert "policy/not_finite_row" not in stack.run(stack.policy.update(Batch(tuple(rows))))
