"""The real policy and a real sampler: what they compute equals transformers and plain torch, and each other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from actors.banned_tokens import banned_tokens
from actors.lessons import LessonMaker
from rollout.roles import PublishError
from rollout.types import Batch, Row, SampleRequest, SamplingParams
from tests.sft_in_plain_torch import plain_batch, plain_losses
from tests.stack import LR, Stack, learn_from, started_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory):
    with started_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.mark.parametrize("which", ["policy", "careful"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_equal_transformers(stack: Stack, which: str, temperature: float):
    """Slow: it needs verl's ranks. Packed and padded, two images a row, rows of different lengths."""
    stack.run(stack.policy.load(stack.start))
    rows = stack.rows(5)
    answers = stack.run(getattr(stack, which).logprobs(rows, temperature))
    references = reference_logprobs(stack, stack.model, rows, temperature)
    for row, expected, answer in zip(rows, references, answers, strict=True):
        assert answer == pytest.approx(expected.tolist(), abs=1e-4)
        assert len(answer) == len(row.token_ids)


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


def test_a_resumed_policy_makes_the_same_next_update(stack: Stack, tmp_path: Path):
    """Slow: it needs verl's ranks. Optimizer moments, schedule and version come back with the weights."""
    policy, batch = stack.policy, Batch(tuple(stack.rows(4)))
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


def test_an_export_is_the_policy(stack: Stack, tmp_path: Path):
    """Slow: it needs verl's ranks. transformers loads it with nothing missing and computes the same."""
    from transformers import AutoProcessor, GenerationConfig

    rows = stack.rows(3)
    stack.run(stack.policy.update(Batch(tuple(rows))))
    stack.run(stack.policy.export(tmp_path / "export"))
    expected = reference_logprobs(stack, tmp_path / "export", rows, 1.0)
    for answer, reference in zip(stack.run(stack.policy.logprobs(rows, 1.0)), expected, strict=True):
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


def test_the_sampler_follows_the_policy(stack: Stack):
    """Slow: it needs both engines. After each publish the sampler's log-probabilities are the policy's."""
    banned = set(banned_tokens_of(stack))
    for _ in range(3):
        metrics = stack.run(stack.policy.publish(stack.samplers))
        assert metrics["publish/max_logprob_gap"] < 1e-4
        assert metrics["publish/live_coverage"] == 1.0
        requests = [stack.request(number, temperature=0.8) for number in range(6)]
        responses = stack.run(sample_all(stack, requests))
        pairs = list(zip(requests, responses, strict=True))
        rows = [learn_from(*pair, advantage=(-1.0) ** number) for number, pair in enumerate(pairs)]
        for row, expected in zip(rows, stack.run(stack.policy.logprobs(rows, 0.8)), strict=True):
            assert list(row.rollout_logprobs) == pytest.approx(expected, abs=1e-4)
            assert not banned & set(row.token_ids)
        assert {response.policy_version for response in responses} == {stack.policy.version}
        for request, response in pairs:
            assert list(response.prompt_token_ids) == stack.inputs(request)["input_ids"][0].tolist()
        update = stack.run(stack.policy.update(Batch(tuple(rows), temperature=0.8)))
        assert update["policy/sampler_gap_max"] < 1e-4


def test_equal_requests_give_equal_responses(stack: Stack):
    """Slow: it needs vLLM. A response depends on its request alone, not on what shares its batch."""
    alone = stack.run(stack.samplers.sample(stack.request(1)))
    crowd = stack.run(sample_all(stack, [stack.request(number) for number in range(8)]))
    assert crowd[1].token_ids == alone.token_ids
    assert len({response.token_ids for response in crowd}) > 4


def test_a_burst_of_prompts_larger_than_a_batch(stack: Stack):
    """Slow: it needs vLLM. On CPU a prompt is read at once: to read one in pieces kills the engine."""

    def long_request(number: int) -> SampleRequest:
        request = stack.request(number)
        parts = [*request.messages[0]["content"], {"type": "text", "text": f" {number}" + " say why" * 40}]
        return replace(request, messages=({"role": "user", "content": parts},))

    async def burst():
        await stack.samplers.each("begin_publish")  # nothing is read before all are there
        tasks = [asyncio.create_task(stack.samplers.sample(long_request(number))) for number in range(40)]
        await asyncio.sleep(1.0)
        await stack.policy.publish(stack.samplers)
        return await asyncio.gather(*tasks)

    responses = stack.run(burst())
    assert sum(len(response.prompt_token_ids) for response in responses) > stack.samplers.config.max_num_batched_tokens
    assert all(response.token_ids for response in responses)


def test_a_publish_in_mid_flight(stack: Stack):
    """Slow: it needs both engines. Running requests go on; they are as old as their first token."""

    async def publish_while_sampling():
        requests = [stack.request(number, max_tokens=300) for number in range(8)]
        tasks = [asyncio.create_task(stack.samplers.sample(request)) for request in requests]
        await asyncio.sleep(0.2)
        await stack.policy.publish(stack.samplers)
        return await asyncio.gather(*tasks), await stack.samplers.sample(stack.request(0))

    stack.run(stack.policy.publish(stack.samplers))
    old = stack.policy.version
    stack.run(stack.policy.update(Batch(tuple(stack.rows(2)))))
    crossing, later = stack.run(publish_while_sampling())
    assert old in {response.policy_version for response in crossing}
    assert later.policy_version == old + 1


def test_a_cancelled_request_leaves_the_engine(stack: Stack):
    """Slow: it needs vLLM in an actor."""

    async def cancel() -> int:
        task = asyncio.create_task(stack.samplers.sample(stack.request(2, max_tokens=400)))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.1)
        return sum(await stack.samplers.each("num_unfinished"))

    assert stack.run(cancel()) == 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("skipped_bucket", "tensors never arrived"),
        ("stale_head", "off in log-prob"),
        ("stale_encoder", "off in log-prob"),
    ],
)
def test_a_faulty_publish_is_noticed(stack: Stack, fault: str, message: str):
    """Slow: it needs both engines. The next publish after the fault is mended succeeds."""
    stack.run(stack.policy.publish(stack.samplers))
    stack.run(stack.policy.update(Batch(tuple(stack.rows(4)))))
    stack.run(stack.samplers.each("set_fault", fault))
    with pytest.raises(PublishError, match=message):
        stack.run(stack.policy.publish(stack.samplers))
    stack.run(stack.samplers.each("set_fault", ""))
    assert stack.run(stack.policy.publish(stack.samplers))["publish/max_logprob_gap"] < 1e-4


def test_a_killed_sampler_says_so_and_comes_back(stack: Stack):
    """Slow: it restarts vLLM. Until the next publish nothing is sampled from the weights it started with."""
    from actors.sampler import SamplerUnavailable

    async def kill_while_sampling():
        task = asyncio.create_task(stack.samplers.sample(stack.request(2, max_tokens=400)))
        await asyncio.sleep(0.2)
        ray.kill(stack.samplers.engines[0], no_restart=False)
        await task

    with pytest.raises(SamplerUnavailable):
        stack.run(kill_while_sampling())
    stack.run(stack.samplers.ready())
    with pytest.raises(SamplerUnavailable, match="waits for the next publish"):
        stack.run(stack.samplers.sample(stack.request(2)))
    stack.run(stack.policy.publish(stack.samplers))
    assert stack.run(stack.samplers.sample(stack.request(2))).policy_version == stack.policy.version


@pytest.mark.parametrize("which", ["policy", "careful"])
def test_sft_is_a_plain_loop_of_transformers_and_torch(stack: Stack, which: str):
    """Slow: it needs verl's ranks. Two ranks, packed, all trained; one rank, padded, the vision tower frozen."""
    is_careful = which == "careful"
    policy = getattr(stack, which)
    stack.run(policy.load(stack.careful_start if is_careful else stack.start))
    maker = LessonMaker(stack.processor, stack.store)
    batches = [conversations(stack, number) for number in range(6)]
    losses = []
    for batch in batches:
        lessons = [maker.make(*conversation) for conversation in batch]
        before = sum(stack.run(policy.losses(lessons))) / sum(lesson.num_taught for lesson in lessons)
        losses.append(stack.run(policy.fit(lessons))["sft/loss"])
        assert before == pytest.approx(losses[-1], abs=1e-5)
    plain = [plain_batch(stack.processor, stack.store, batch) for batch in batches]
    assert losses == pytest.approx(plain_losses(stack.model, plain, lr=LR, is_vision_frozen=is_careful), abs=1e-4)
    assert losses[-1] < losses[0] - 0.1


def test_a_lesson_asks_what_the_sampler_is_asked(stack: Stack):
    """Slow: it needs vLLM. Its prompt is, token by token, what the engine makes of the same messages and images."""
    maker = LessonMaker(stack.processor, stack.store)
    for messages, images in conversations(stack, 0):
        request = SampleRequest(tuple(messages[:-1]), images, SamplingParams(temperature=0.0, max_tokens=4), seed=0)
        response = stack.run(stack.samplers.sample(request))
        lesson = maker.make(messages, images)
        before_answer = lesson.prompt_token_ids + lesson.token_ids
        num_taught = len(maker.make([*messages[:1], *messages[-1:]], images).token_ids)
        assert response.prompt_token_ids == before_answer[:-num_taught]


def conversations(stack: Stack, number: int) -> list:
    """Return two images a lesson, one lesson with a white canvas, one of several turns, one of words alone."""
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


def banned_tokens_of(stack: Stack) -> list[int]:
    from transformers import AutoConfig

    return banned_tokens(AutoConfig.from_pretrained(stack.model))


def load_weights(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def load_model(folder: Path):
    import torch
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)


def response_logprobs(stack: Stack, model, row: Row, temperature: float):
    """Return log-probabilities (tokens,) by transformers, over what may be sampled."""
    import torch

    pixels = stack.processor.image_processor(
        images=[stack.store.get_image(ref) for ref in row.images], return_tensors="pt"
    )
    ids = torch.tensor([row.prompt_token_ids + row.token_ids])
    is_image = (ids == stack.processor.image_token_id).int()
    logits = model(input_ids=ids, mm_token_type_ids=is_image, **pixels).logits[0].clone()
    logits[:, banned_tokens_of(stack)] = -float("inf")
    spoken = (logits / temperature).log_softmax(-1)[len(row.prompt_token_ids) - 1 : -1]
    return spoken.gather(1, torch.tensor(row.token_ids)[:, None])[:, 0]


def reference_logprobs(stack: Stack, folder: Path, rows: list[Row], temperature: float):
    import torch

    model = load_model(folder).eval()
    with torch.no_grad():
        return [response_logprobs(stack, model, row, temperature) for row in rows]


def one_step_in_plain_torch(stack: Stack, rows: list[Row], temperature: float):
    """Return (weights, gradient norm, loss) of one PPO step: the ratio is 1, so nothing is clipped."""
    import torch

    model = load_model(stack.model)
    total = sum(len(row.token_ids) for row in rows)
    loss = torch.zeros(())
    for row in rows:
        logprobs = response_logprobs(stack, model, row, temperature)
        ratio = (logprobs - logprobs.detach()).exp()
        loss = loss - (ratio * torch.tensor(row.advantages)).sum() / total
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0).step()
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}, norm.item(), loss.item()
