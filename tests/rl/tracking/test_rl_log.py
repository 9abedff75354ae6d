"""What the log makes of a run: differences of counts, shares of time, alerts that stop it, and where it all goes."""

import asyncio
import errno
import io
import math
import re
import time
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from actors.config import EvidenceConfig, JudgeConfig, ServerConfig
from rl import checkpoint
from rl.evaluation import Evaluation, EvaluationRow
from rl.recipe.alerts import AlertConfig, Limit
from rl.recipe.config import EvaluationConfig, Recipe, RewardConfig
from rl.recipe.jobs import TrackingConfig
from rl.tracking.alerts import Collapsed
from rl.tracking.loop_watch import watch_loop
from rl.tracking.metrics_file import append_metrics, drop_metrics_after, read_metrics
from rl.tracking.rl_log import Log
from rl.tracking.service_metrics import idle_shares, num_devices, step_metrics, throughput
from rl.tracking.trackers import start_trackers
from rollout.roles import BudgetSpent, RunStopped
from rollout.types import Batch, Phase, TrainingRow
from tests.support.fakes import FakePolicy, FakeSampler
from tests.support.training import TERMS, make_recipe, train_on_fakes
from tests.support.unsayable import UnsayableError

RECIPE = Recipe(name="fake", reward=RewardConfig(TERMS))
QUIET = Console(quiet=True)


def with_alerts(folder, *, stop_on=(), **alerts) -> Recipe:
    tracking = TrackingConfig(backends=[], alerts=AlertConfig(**alerts), stop_on=list(stop_on))
    return make_recipe(folder, tracking=tracking)


# ---- services, time and throughput --------------------------------------------------------------------------------


def test_counts_are_told_by_step_and_in_total():
    before = {"judge/calls": 10.0, "judge/usd": 1.0, "judge/hits": 4.0}
    now = {"judge/calls": 30.0, "judge/usd": 1.5, "judge/hits": 9.0, "judge/shared": 5.0, "judge/busy_share": 0.7}
    metrics = step_metrics(before, now)
    assert metrics["judge/calls"] == 20.0
    assert metrics["judge/usd"] == 0.5
    assert metrics["judge_total/usd"] == 1.5
    assert metrics["judge/busy_share"] == 0.7  # a state, no count
    assert metrics["judge/hit_rate"] == pytest.approx((5 + 5) / 20)


def test_a_service_that_counts_anew_has_counted_it_since():
    assert step_metrics({"samplers/calls": 100.0}, {"samplers/calls": 3.0})["samplers/calls"] == 3.0


@pytest.mark.parametrize("key", ["judge/calls", "judge/0-gpt-4.1/calls", "evidence/look/calls", "generator/calls"])
def test_a_restarted_owner_that_lacks_the_last_counts_has_counted_nothing(key):
    assert step_metrics({key: 100.0}, {key: 97.0})[key] == 0.0


@pytest.mark.parametrize("service", ["judge/0-gpt-4.1", "evidence/look", "evidence/look/1-vlm"])
def test_services_of_longer_names_have_states_totals_and_a_hit_rate(service):
    states = {f"{service}/latency_p50_s": 0.5, f"{service}/busy_share": 0.2, f"{service}/places": 8.0}
    before = {f"{service}/calls": 10.0, f"{service}/hits": 1.0} | states
    now = {f"{service}/calls": 20.0, f"{service}/hits": 4.0, f"{service}/faults/timeout": 2.0} | states
    metrics = step_metrics(before, now)
    assert {key: metrics[key] for key in states} == states
    assert (metrics[f"{service}/calls"], metrics[f"{service}/hit_rate"]) == (10.0, 0.3)
    assert (metrics[f"{service}_total/calls"], metrics[f"{service}_total/faults/timeout"]) == (20.0, 2.0)


def test_idle_shares_by_hand():
    recipe = replace(RECIPE, samplers=replace(RECIPE.samplers, num_samplers=2))
    metrics = {
        "seconds/update": 3.0,
        "seconds/publish": 1.0,
        "samplers/seconds": 10.0,
        "generator/run_seconds": 12.0,  # of work that began before
        "judge/seconds": 8.0,
        "judge/places": 4.0,
    }
    assert idle_shares(metrics, 10.0, recipe) == {
        "idle/policy": pytest.approx(0.6),
        "idle/samplers": pytest.approx(0.5),
        "idle/generator": 0.0,
        "idle/judge": pytest.approx(0.8),
    }
    assert idle_shares({}, 10.0, recipe) == {}


def test_throughput_is_for_each_device():
    policy = replace(RECIPE.policy, num_ranks=4, gpus_per_rank=1)
    generator = replace(RECIPE.generator, num_replicas=2, gpus_per_replica=0.5)
    on_gpus = replace(RECIPE, policy=policy, generator=generator)
    assert num_devices(on_gpus) == 5.0
    assert num_devices(RECIPE) == 2 + 1 + 1  # ranks, samplers, replicas
    local = JudgeConfig(kind="vllm", model="owner/vlm", num_replicas=2, server=ServerConfig(gpus=2))
    assert num_devices(replace(on_gpus, judge=local)) == 5.0 + 4
    members = [asdict(local), {"scorer": "recipes.shapes.judge.score"}]
    looks = {"vlm": EvidenceConfig(judge=local), "fn": EvidenceConfig("a.b", num_replicas=3, gpus_per_replica=0.5)}
    judged = replace(on_gpus, judge=JudgeConfig(kind="ensemble", members=members), evidence=looks)
    assert num_devices(judged) == 5.0 + 4 + 4 + 1.5
    metrics = {"rollout/samples": 100.0, "rollout/tokens": 5000.0, "policy/tokens": 4000.0, "policy/seconds": 2.0}
    rates = throughput(metrics, 10.0, on_gpus)
    assert rates["throughput/samples_per_s"] == 10.0
    assert rates["throughput/samples_per_s_per_device"] == 2.0
    assert rates["throughput/tokens_per_s_per_device"] == 100.0
    assert rates["throughput/trained_tokens_per_s_per_rank"] == 500.0


def test_a_runs_rows_tell_what_each_step_took(tmp_path):
    recipe = make_recipe(tmp_path, num_steps=4, save_every=1, evaluation=EvaluationConfig(num_tasks=0, every=2))
    asyncio.run(train_on_fakes(recipe, FakePolicy(lr=0.01)))
    rows = [row for row in read_metrics(tmp_path) if "eval/reward" not in row]
    assert rows[0]["judge/calls"] > 0
    totals = [row["judge_total/calls"] for row in rows]
    assert totals == pytest.approx(np.cumsum([row["judge/calls"] for row in rows]))
    assert all(row["staleness/max"] == 0.0 for row in rows)
    assert all(0 <= row["idle/policy"] <= 1 for row in rows)
    assert all(row["throughput/samples_per_s"] > 0 for row in rows)
    assert all("seconds/evaluation" in row for row in rows)
    assert ["seconds/saving" in row for row in rows] == [False, True, True, True]  # of the step before


# ---- alerts -------------------------------------------------------------------------------------------------------


def test_an_alert_stops_the_run_with_a_checkpoint_and_the_run_can_go_on(tmp_path):
    unparsable = {"parse_rate_below": Limit(0.8, 2)}
    recipe = with_alerts(tmp_path, stop_on=["parse_rate_below"], **unparsable)
    with pytest.raises(Collapsed, match=r"critique/parse_rate is 0 over 2 steps, below 0\.8; look at format_errors"):
        asyncio.run(train_on_fakes(recipe, FakePolicy(), FakeSampler(garbage=1.0)))
    policy = FakePolicy()
    assert asyncio.run(checkpoint.resume(recipe, policy)) == 2
    assert [row["alerts/parse_rate_below"] for row in read_metrics(tmp_path)] == [0.0, 1.0]
    with pytest.raises(Collapsed):  # as bad as before, over a window of its own
        asyncio.run(train_on_fakes(replace(recipe, num_steps=5), policy, FakeSampler(garbage=1.0), first_step=3))
    assert [row["alerts/parse_rate_below"] for row in read_metrics(tmp_path)] == [0.0, 1.0, 0.0, 1.0]


def test_an_alert_alone_stops_nothing_and_is_said_once(tmp_path):
    async def follow() -> str:
        recipe = with_alerts(tmp_path, entropy_below=Limit(0.1, 1))
        console = Console(record=True, quiet=False, file=open("/dev/null", "w"), width=200)  # noqa: SIM115
        log = await Log.start(recipe, console=console)
        for step in (1, 2):
            async with log.step(step):
                log.metrics({"policy/entropy": 0.0})
        assert log.collapse is None
        await log.close()
        return console.export_text()

    text = asyncio.run(follow())
    assert text.count("alert entropy_below: policy/entropy is 0 in this step, below 0.1; lower policy.lr") == 1


def test_a_callback_that_computes_is_said_with_its_name(tmp_path):
    async def follow() -> str:
        console = Console(record=True, file=open("/dev/null", "w"), width=200)  # noqa: SIM115
        async with watch_loop() as watch:
            log = await Log.start(make_recipe(tmp_path), console=console, watch=watch)
            async with log.step(1):
                end = time.thread_time() + 0.06
                while time.thread_time() < end:
                    pass
                await asyncio.sleep(0)
            await log.close()
        return console.export_text()

    assert "the loop was held up by a callback that computes: 6" in asyncio.run(follow())
    assert read_metrics(tmp_path)[0]["driver/max_callback_ms"] >= 60


@pytest.mark.parametrize(("num_failed", "said"), [(1, "(1 answer, 1 lost)"), (0, "(1 answer)")])
def test_a_figure_that_no_answer_counts_in_is_a_dash_in_the_line_alone(tmp_path, num_failed, said):
    """Of one task that succeeded there is no semantic gain."""
    row = EvaluationRow("one", 0, False, True, True, 0.5, math.nan, math.nan)
    told = Console(record=True, file=io.StringIO(), width=200)

    async def follow() -> None:
        log = await Log.start(make_recipe(tmp_path), console=told)
        await log.evaluation(Evaluation((row,), (), num_failed), Phase.BEFORE, step=0)
        await log.close()

    asyncio.run(follow())
    line = told.export_text()
    assert f"evaluation before {said}  reward 0.500  semantic_gain -  fixed -  verdict_accuracy 1.000" in line
    assert math.isnan(Evaluation.load(tmp_path / "evaluation_before.json").figures()["semantic_gain"])


class Recorder:
    """A tracker that remembers what it is told."""

    def __init__(self):
        self.told: list[tuple] = []

    def log(self, row, step):
        self.told.append(("log", step, row["policy/entropy"]))

    def images(self, key, pictures, step):
        self.told.append(("images", step, len(list(pictures))))

    def alert(self, title, text, step):
        self.told.append(("alert", step, title))

    def close(self):
        self.told.append(("close",))


def test_trackers_hear_of_rows_alerts_and_the_end(tmp_path, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr("rl.tracking.step_log.start_trackers", lambda recipe, first_step, kept: [recorder])

    async def follow() -> None:
        log = await Log.start(with_alerts(tmp_path, entropy_below=Limit(0.1, 1)), console=QUIET)
        for step, entropy in ((1, 0.0), (2, 0.5)):
            async with log.step(step):
                log.metrics({"policy/entropy": entropy})
        with pytest.raises(RuntimeError, match="broke"):
            async with log.step(3):
                raise RuntimeError("broke")
        await log.close()

    asyncio.run(follow())
    assert recorder.told == [("alert", 1, "fake: entropy_below"), ("log", 1, 0.0), ("log", 2, 0.5), ("close",)]
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2], "a step that broke has no row"


class Failing(Recorder):
    """A tracker whose every method fails."""

    def __init__(self, *made_with, error=UnsayableError):
        super().__init__()
        self.error = error

    def log(self, row, step):
        super().log(row, step)
        raise self.error

    def images(self, key, pictures, step):
        raise LookupError("[/b]")

    def alert(self, title, text, step):
        raise LookupError("no alarm")

    def close(self):
        raise UnsayableError


def test_a_tracker_that_fails_costs_its_charts_alone(tmp_path, monkeypatch):
    failing, after = Failing(), Recorder()
    monkeypatch.setattr("rl.tracking.step_log.start_trackers", lambda recipe, first_step, kept: [failing, after])
    console = Console(record=True, width=200)

    async def follow() -> None:
        log = await Log.start(with_alerts(tmp_path, entropy_below=Limit(0.1, 1)), console=console)
        for step in (1, 2):
            async with log.step(step):
                log.metrics({"policy/entropy": 0.0})
        await log.close()

    asyncio.run(follow())
    said = console.export_text()
    for step in (1, 2):
        assert f"step {step}: Failing raised UnsayableError: its __str__ raises OSError (" in said
    assert re.search(r"step 1: Failing raised LookupError: no alarm \(.*\); that is not charted", said)
    assert "step 2: Failing was not closed: its __str__ raises OSError" in said
    assert after.told == [("alert", 1, "fake: entropy_below"), ("log", 1, 0.0), ("log", 2, 0.0), ("close",)]
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


def test_a_full_disk_is_no_trackers_own_affair(tmp_path, monkeypatch):
    full = Failing(error=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr("rl.tracking.step_log.start_trackers", lambda recipe, first_step, kept: [full])

    async def follow() -> None:
        log = await Log.start(with_alerts(tmp_path), console=QUIET)
        async with log.step(1):
            log.metrics({"policy/entropy": 0.0})

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(follow())


class Unmade:
    def __init__(self, recipe, first_step, kept):
        raise UnsayableError

    log = images = alert = close = None


def test_a_tracker_of_ones_own_that_cannot_be_made_is_named(tmp_path):
    recipe = make_recipe(tmp_path, tracking=TrackingConfig(backends=[f"{__name__}:Unmade"]))
    with pytest.raises(RunStopped, match=r"has .*:Unmade, which did not start: UnsayableError: its __str__"):
        start_trackers(recipe, 1, [])


def test_what_stops_a_run_is_not_lost_to_an_error_of_its_log(tmp_path):
    is_down, told = False, Console(record=True, width=200)

    async def no_counts():
        if is_down:
            raise RuntimeError("the owner is dead")
        return {}

    async def follow(stop: Exception | None) -> None:
        nonlocal is_down
        is_down = False
        log = await Log.start(make_recipe(tmp_path), console=told, stats=no_counts)
        is_down = True
        try:
            async with log.step(1):
                if stop is not None:
                    raise stop
        finally:
            await log.close()

    with pytest.raises(BudgetSpent, match="20 of 20"):
        asyncio.run(follow(BudgetSpent("20 of 20 calls are made")))
    assert "step 1: its metrics were not written: the owner is dead" in told.export_text()
    with pytest.raises(RuntimeError, match="the owner is dead"):
        asyncio.run(follow(None))


# ---- files and trackers -------------------------------------------------------------------------------------------


def test_a_resumed_run_keeps_the_rows_up_to_its_checkpoint(tmp_path):
    for step in (0, 1, 2, 3):
        append_metrics(tmp_path, {"step": step, "reward/mean": step / 10, "policy/grad_norm": math.nan})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "rew')  # torn by a kill
    kept = drop_metrics_after(tmp_path, 2)
    assert [row["step"] for row in kept] == [0, 1, 2]
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2]


@pytest.mark.parametrize("damaged", [b"\x80\xff\n", b"[1]\n", b"7\n", b'{"step": "1"}\n', b"[" * 100_000 + b"\n"])
def test_lines_that_are_no_rows_are_left_out_and_the_file_is_kept_before_it_is_replaced(tmp_path, damaged, capsys):
    file = tmp_path / "metrics.jsonl"
    append_metrics(tmp_path, {"step": 1, "reward/mean": 0.5})
    content = damaged + b"\n" + file.read_bytes()
    file.write_bytes(content)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1]
    assert [row["step"] for row in drop_metrics_after(tmp_path, 2)] == [1]
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == content
    assert "1 line cannot be read; the file as it was is kept as metrics.jsonl.damaged" in capsys.readouterr().err
    drop_metrics_after(tmp_path, 2)
    assert capsys.readouterr().err == ""


def test_a_file_of_one_damaged_line_is_kept_too(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_bytes(b"\x80 and no end")
    assert drop_metrics_after(tmp_path, 2) == []
    assert (tmp_path / "metrics.jsonl.damaged").exists()


def test_an_evaluation_that_a_kill_left_half_noted_is_made_again_and_stands_once(tmp_path):
    append_metrics(tmp_path, {"step": 0, "eval/reward_before": 0.4, "eval/failed_samples_before": 0.0})
    assert drop_metrics_after(tmp_path, 0) == []
    append_metrics(tmp_path, {"step": 0, "eval/reward_before": 0.4, "eval/failed_samples_before": 0.0})
    (tmp_path / "evaluation_before.json").write_text("{}")
    append_metrics(tmp_path, {"step": 2, "eval/failed_samples_after": 8.0})  # all lost: it has no figures
    assert [row["step"] for row in drop_metrics_after(tmp_path, 2)] == [0]


def charted(recipe: Recipe, first_step: int = 1, kept=()) -> None:
    """Use a recipe's trackers as a run does."""
    for tracker in start_trackers(recipe, first_step, kept):
        for step in (first_step, first_step + 1):
            tracker.log({"reward/mean": step / 10, "policy/grad_norm": math.nan}, step)
        tracker.images("pictures", [(Image.new("RGB", (8, 4), (255, 0, 0)), "a red box")], first_step)
        tracker.alert("fake: entropy_below", "entropy_below: look", first_step)
        tracker.close()


def test_tensorboard_shows_what_was_logged_and_no_step_twice(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe(tmp_path, tracking=TrackingConfig(backends=["tensorboard"]))
    charted(recipe)
    charted(recipe, first_step=2)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("reward/mean")]
    assert points == [(1, pytest.approx(0.1)), (2, pytest.approx(0.2)), (3, pytest.approx(0.3))]
    (image,) = [event for event in events.Images("pictures/0") if event.step == 2]
    assert (image.width, image.height) == (8, 4)


@pytest.mark.parametrize(("first_step", "kept"), [(1, []), (3, [{"step": 2, "reward/mean": 0.2}])])
def test_tensorboard_shows_an_evaluation_once_that_a_kill_has_left_unfinished(tmp_path, first_step, kept):
    """Those before and after training stand at a step that a resumed run does not repeat."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe(tmp_path, num_steps=2, tracking=TrackingConfig(backends=["tensorboard"]))
    for number in (1, 2):
        (tracker,) = start_trackers(recipe, first_step if number == 2 else 1, kept if number == 2 else [])
        for row in kept if number == 1 else ():
            tracker.log({"reward/mean": row["reward/mean"]}, row["step"])
        tracker.log({"eval/reward": number / 10}, first_step - 1)
        tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("eval/reward")] == [first_step - 1]
    shown = [event.step for event in events.Scalars("reward/mean")] if kept else []
    assert shown == [row["step"] for row in kept]


@pytest.mark.slow
def test_wandb_takes_what_was_logged(tmp_path):
    """Slow: W&B starts a service of its own."""
    recipe = make_recipe(tmp_path, tracking=TrackingConfig(backends=["wandb"]))
    charted(recipe, first_step=2, kept=[{"step": 1, "reward/mean": 0.1}])
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    assert list(folder.glob("files/media/images/pictures*.png"))
    assert next(folder.glob("*.wandb")).stat().st_size > 0


@pytest.mark.parametrize(
    ("row", "whose"), [(1.0, r"of sample 3 of task t7, drawn by version 5"), (-1.0, r"of the samples' sum, not of one")]
)
def test_a_gradient_that_is_not_finite_is_told_with_its_sample(tmp_path, row, whose):
    async def follow(console: Console) -> None:
        log = await Log.start(make_recipe(tmp_path), console=console)
        rows = [
            TrainingRow((), (1,), (2,), (0.0,), (0.0,), name)
            for name in ("", "sample 3 of task t7, drawn by version 5")
        ]
        async with log.step(1):
            log.update({"policy/grad_norm": math.nan, "policy/not_finite_row": row}, Batch(tuple(rows)))
        await log.close()

    said = io.StringIO()
    asyncio.run(follow(Console(file=said, width=200)))
    assert re.search(f"left out: a gradient that is nan, {whose}", said.getvalue())


def test_what_a_warning_quotes_is_no_markup(tmp_path):
    """Rich would take brackets for styles, and end the run for one that closes nothing."""

    async def follow(console: Console) -> None:
        log = await Log.start(make_recipe(tmp_path), console=console)
        log.warn("tracking.metrics has mine raised LookupError: [/b] of [red]")
        await log.close()

    said = io.StringIO()
    asyncio.run(follow(Console(file=said, width=200)))
    assert "raised LookupError: [/b] of [red]" in said.getvalue()


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match=r"tracking\.backends has mlflow; known are wandb, tensorboard"):
        TrackingConfig(backends=["mlflow"])


def test_an_evaluation_counts_as_done_once_its_row_is_written(tmp_path, monkeypatch):
    def full(run_dir, row):
        raise OSError(28, "No space left on device")

    async def follow() -> None:
        log = await Log.start(make_recipe(tmp_path), console=QUIET)
        try:
            await log.evaluation(Evaluation((), (), 0), Phase.BEFORE, step=0)
        finally:
            await log.close()

    monkeypatch.setattr("rl.tracking.step_log.append_metrics", full)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # figures of no rows
        with pytest.raises(OSError, match="No space"):
            asyncio.run(follow())
    assert not (tmp_path / "evaluation_before.json").exists()
