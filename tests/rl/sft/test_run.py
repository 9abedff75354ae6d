"""The real `teach()` on fakes: what is learned, measured, chosen, left out and resumed."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from actors.store.store import Store
from data.records.sft import Kind
from data.table.record_table import open_sft
from rl import checkpoint
from rl.recipe.jobs import TrackingConfig
from rl.recipe.sft_config import SftDataConfig, SftEvaluationConfig, SftRecipe
from rl.sft.best_checkpoint import BestCheckpoint
from rl.sft.evaluation import SftEvaluator
from rl.sft.examples import ExampleStream, Order, UnusableRecord, conversation_of
from rl.sft.log import SftLog
from rl.sft.run import check_unfinished
from rl.sft.train import teach
from rl.tracking.metrics_file import read_metrics
from rollout.roles import CheckpointError
from rollout.types import SftExample
from rollout.types.arrays import as_token_ids
from tests.support.fakes import GOOD, PHRASINGS, FakePolicy, FakeSampler
from tests.support.record_files import critic_record, write_lines


@pytest.fixture
def records(tmp_path):
    path = write_lines(tmp_path / "sft.jsonl", [critic_record(number, id=number) for number in range(10)])
    return open_sft(path, Kind.CRITIC_SFT)


def make_recipe(folder, **changes) -> SftRecipe:
    recipe = SftRecipe(
        name="fake",
        run_dir=str(folder / "run"),
        num_steps=12,
        batch_size=4,
        data=SftDataConfig(train="-", heldout="-"),
        evaluation=SftEvaluationConfig(every=4),
        tracking=TrackingConfig(backends=[]),
    )
    return replace(recipe, **changes)


def good_lesson(record) -> SftExample:
    """Return a example that teaches the good phrasing; its prompt's one token is the record's number."""
    return SftExample((), (int(record.id),), (PHRASINGS.index(GOOD),), (True,))


async def run(recipe, policy, records, *, make=good_lesson, first_step=1, sampler=None, is_skipping=False):
    order = Order(len(records), recipe.batch_size, recipe.seed)
    steps = range(first_step, recipe.num_steps + 1)
    stream = ExampleStream(records, make, order, steps=steps, max_tokens=8, is_skipping=is_skipping)
    best = BestCheckpoint(recipe, resumed_after=first_step - 1)
    questions = (
        [conversation_of(record, Store(Path(recipe.run_dir) / "store")) for record in records[:3]] if sampler else []
    )
    heldout = [good_lesson(record) for record in records[:3]]
    evaluate = SftEvaluator(recipe, policy, sampler, examples=heldout, questions=questions)
    log = await SftLog.start(recipe, resumed_after=first_step - 1, console=Console(quiet=True))
    try:
        await teach(recipe, policy, stream, evaluate, best, log)
    finally:
        await log.close()
    return best


def test_what_the_records_say_is_learned_and_logged(tmp_path, records):
    policy = FakePolicy()
    best = asyncio.run(run(make_recipe(tmp_path), policy, records))
    assert policy.probabilities()[PHRASINGS.index(GOOD)] > 0.9
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert rows[-1]["sft/loss"] < rows[0]["sft/loss"]
    assert rows[0]["sft/tokens"] == 4
    assert [row["step"] for row in rows if "eval/loss" in row] == [4, 8, 12]
    assert best.step == 12


def test_each_epoch_teaches_each_record_once(tmp_path, records):
    policy = FakePolicy()
    asyncio.run(run(make_recipe(tmp_path, num_steps=5), policy, records))
    taught = [example.prompt_token_ids[0] for batch in policy.examples for example in batch]
    assert sorted(taught[:10]) == sorted(taught[10:]) == list(range(10))
    assert taught[:10] != taught[10:]


def test_answers_are_measured_by_what_was_published(tmp_path, records):
    policy, sampler = FakePolicy(), FakeSampler()
    asyncio.run(run(make_recipe(tmp_path, num_steps=4), policy, records, sampler=sampler))
    assert sampler.version == policy.version == 4
    row = read_metrics(tmp_path / "run")[-1]
    assert row["eval/parse_rate"] == 1
    assert row["eval/verdict_accuracy"] == row["eval/verdict_balanced"] == 1  # the fake says False, and so do they
    answers = [json.loads(line) for line in (tmp_path / "run" / "answers_000004.jsonl").read_text().splitlines()]
    assert [answer["id"] for answer in answers] == ["0", "1", "2"]
    assert [request.params.temperature for request in sampler.requests] == [0] * 3
    assert [message["role"] for message in sampler.requests[0].messages] == ["user"]


def test_an_answer_that_does_not_parse_is_wrong(tmp_path, records):
    sampler = FakeSampler(garbage=1.0)
    asyncio.run(run(make_recipe(tmp_path, num_steps=1), FakePolicy(), records, sampler=sampler))
    row = read_metrics(tmp_path / "run")[-1]
    assert row["eval/parse_rate"] == row["eval/verdict_accuracy"] == 0
    assert row["eval/format_errors/tags"] == 3


def test_the_best_weights_are_exported_and_not_the_last(tmp_path, records):
    class Overfitting(FakePolicy):
        async def losses(self, examples):
            value = 1.0 if self.version == 8 else 2.0
            return [value] * len(examples)

    best = asyncio.run(run(make_recipe(tmp_path), Overfitting(), records))
    assert (best.step, best.value) == (8, 1.0)
    assert (best.folder / "logits.txt").read_text().split()[0] == "8"
    last = make_recipe(tmp_path / "last", evaluation=SftEvaluationConfig(every=4, best=""))
    assert asyncio.run(run(last, Overfitting(), records)).step == 12


def test_a_resumed_run_ends_where_the_uninterrupted_one_does(tmp_path, records):
    whole, second = FakePolicy(lr=0.2), FakePolicy(lr=0.2)
    asyncio.run(run(make_recipe(tmp_path / "whole"), whole, records))

    class Killed(FakePolicy):
        async def fit(self, examples):
            if self.version == 10:
                raise KeyboardInterrupt
            return await super().fit(examples)

    recipe = make_recipe(tmp_path / "cut", save_every=5)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run(recipe, Killed(lr=0.2), records))
    (tmp_path / "cut" / "run" / "checkpoints" / "latest").write_text("step_000005")
    done = asyncio.run(checkpoint.resume(recipe, second))
    assert done == 5
    assert BestCheckpoint(recipe, resumed_after=done).step == 0  # step 8's weights are there, but will be made again
    assert BestCheckpoint(recipe, resumed_after=10).step == 8
    best = asyncio.run(run(recipe, second, records, first_step=done + 1))
    assert second.logits == whole.logits
    assert second.examples == whole.examples[5:]
    assert [row["step"] for row in read_metrics(tmp_path / "cut" / "run")] == list(range(1, 13))
    assert best.step == 12


def bad_lesson(record) -> SftExample:
    if record.id == "3":
        raise ValueError("its image is gone")
    size = 9 if record.id == "4" else 1
    return replace(good_lesson(record), prompt_token_ids=as_token_ids([int(record.id)] * size))


def test_what_cannot_be_learned_from_is_left_out_by_the_rule(tmp_path, records):
    policy = FakePolicy()
    recipe = make_recipe(tmp_path, num_steps=5)
    asyncio.run(run(recipe, policy, records, make=bad_lesson, is_skipping=True))
    taught = {example.prompt_token_ids[0] for batch in policy.examples for example in batch}
    assert taught == set(range(10)) - {3, 4}
    assert sum(row["sft/left_out"] for row in read_metrics(tmp_path / "run")) == 4  # two records, two epochs


def test_by_default_the_record_is_named(tmp_path, records):
    with pytest.raises(UnusableRecord, match=r"record 3: its image is gone|record 4 has 10 tokens; raise policy\."):
        asyncio.run(run(make_recipe(tmp_path), FakePolicy(), records, make=bad_lesson))


def test_an_alert_that_the_recipe_stops_on_saves_and_stops(tmp_path, records):
    from rl.tracking.alerts import Collapsed

    class Diverging(FakePolicy):
        async def fit(self, examples):
            return await super().fit(examples) | {"policy/grad_norm": float("nan")}

    tracking = TrackingConfig(backends=[], stop_on=["grad_norm_not_finite"])
    with pytest.raises(Collapsed, match="grad_norm is nan"):
        asyncio.run(run(make_recipe(tmp_path, tracking=tracking), Diverging(), records))
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text() == "step_000001"


class Unexported(FakePolicy):
    """Whose disk is full when it exports."""

    async def export(self, folder):
        raise OSError(28, "No space left on device", str(folder))


@pytest.mark.parametrize("save_every", [0, 4, 5])
def test_an_export_that_fails_leaves_a_checkpoint_from_which_it_is_made(tmp_path, records, save_every):
    recipe = make_recipe(tmp_path, num_steps=8, save_every=save_every)
    told = r"export failed: OSError: .*No space.*; the checkpoint of step 4 is whole: .* --resume to export it"
    with pytest.raises(CheckpointError, match=told):
        asyncio.run(run(recipe, Unexported(), records))
    resumed = FakePolicy()
    assert asyncio.run(checkpoint.resume(recipe, resumed)) == 4
    best = BestCheckpoint(recipe, resumed_after=4)
    assert best.is_due(4)
    assert not best.is_due(3)
    asyncio.run(best.export(resumed))
    assert (best.step, (best.folder / "logits.txt").read_text().split()[0]) == (4, "4")
    assert not BestCheckpoint(recipe, resumed_after=4).is_due(4)


def test_the_checkpoint_is_written_before_the_export(tmp_path, records):
    class Killed(FakePolicy):
        async def export(self, folder):
            if self.version == 8:
                raise KeyboardInterrupt
            await super().export(folder)

    recipe = make_recipe(tmp_path, num_steps=8)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run(recipe, Killed(), records))
    assert asyncio.run(checkpoint.resume(recipe, FakePolicy())) == 8
    assert BestCheckpoint(recipe, resumed_after=8).is_due(8)
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == list(range(1, 9))


@pytest.mark.parametrize("missing", ["", "export/config.json", "checkpoints/latest"])
def test_a_finished_run_is_not_started_again(tmp_path, missing):
    recipe = make_recipe(tmp_path, num_steps=4)
    for name, text in {"checkpoints/latest": "step_000004", "export/config.json": "{}"}.items():
        (recipe.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe.folder / name).write_text(text)
    if missing:
        (recipe.folder / missing).unlink()
        check_unfinished(recipe)
        return
    with pytest.raises(ValueError, match=r"is finished: its 4 steps are learned, .*set num_steps above 4"):
        check_unfinished(recipe)
    (recipe.folder / "best_pending.json").write_text("{}")
    check_unfinished(recipe)


@pytest.mark.parametrize("name", ["best.json", "best_pending.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"step": 1}'])
def test_a_damaged_note_of_the_best_weights_is_told_with_what_can_be_done(tmp_path, name, content):
    recipe = make_recipe(tmp_path, num_steps=4)
    recipe.folder.mkdir(parents=True, exist_ok=True)
    (recipe.folder / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name} is damaged: .*; put it back from a copy, or remove it"):
        BestCheckpoint(recipe, resumed_after=1)


def test_examples_are_learned_while_a_checkpoint_is_written(tmp_path, records):
    class Patient(FakePolicy):
        """Writes the checkpoint of step 2 only when two more are learned."""

        events: tuple[str, ...] = ()

        async def fit(self, examples):
            self.events += (f"learned {self.version + 1}",)
            return await super().fit(examples)

        async def _write(self, folder, staged):
            while self.version < 4:
                await asyncio.sleep(0.01)
            await super()._write(folder, staged)
            self.events += (f"wrote {staged.split()[0]}",)

    policy, recipe = Patient(), make_recipe(tmp_path, num_steps=5, save_every=2)
    asyncio.run(run(replace(recipe, evaluation=SftEvaluationConfig(every=5)), policy, records))
    assert policy.events == ("learned 1", "learned 2", "learned 3", "learned 4", "wrote 2", *policy.events[5:])
    assert policy.events[-1] == "wrote 5"  # for the export, which comes after its checkpoint
