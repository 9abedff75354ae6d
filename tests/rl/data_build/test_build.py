"""The build job on fakes: sets and cards, stopping after every row, hostile requests, and what it refuses.

Slow: whole builds, again and again.
"""

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.resources import needs_ray
from actors.store.append_log import AppendLog
from actors.store.eviction import oldest_run
from actors.store.store import Store
from data.build.requests import open_requests, read_requests
from data.build.sets import make_sets
from data.build.trajectory_log import TrajectoryLog, request_digest
from data.errors import RecordError
from data.records.on_bad import BadRecords, OnBad
from data.records.sft import Kind
from data.table.record_table import open_sft, open_tasks
from rl.data_build import build as build_module
from rl.data_build.build import Build, BuildStopped, collect_all, prepare_build, run_build
from rl.data_build.config import BuildRecipe
from rl.launch import launch
from rl.recipe.reader import load_as
from rl.run_dir.provenance import write_provenance
from rollout.roles import TeacherError
from rollout.types import ModelAnswer
from tests.support.fake_teachers import FakePlanner, StoreGenerator, make_collector
from tests.support.record_files import save_image, save_png_header

pytestmark = pytest.mark.slow

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _without_waiting_for_disks(monkeypatch):
    """What a power cut would lose is not what is tested here."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Dies(RuntimeError):
    """What a kill is here."""


def make_build(tmp_path, out="out", **overrides) -> Build:
    requests = tmp_path / "requests.txt"
    if not requests.exists():
        requests.write_text("".join(f"box {number}\n" for number in range(30)))
    given = {"requests.file": requests, "run_dir": tmp_path / out, "store": tmp_path / f"{out}_store"}
    given |= {"split.side": "''", "split.heldout": 0.3, "critic_rl.num_train": 0, "critic_rl.num_heldout": 0}
    pairs = [f"{key}={value}" for key, value in {**given, **overrides}.items()]
    recipe = load_as(BuildRecipe, REPO / "recipes/build_shapes.yaml", pairs)
    return Build(recipe, open_requests(requests), {"planner": {"fn": "fake"}}, None)


def run(monkeypatch, build: Build, **roles):
    """Run a build on fakes."""

    @asynccontextmanager
    async def walking(recipe):
        async with launch(recipe):
            yield make_collector(build.store, recipe.collect, **roles)

    monkeypatch.setattr(build_module, "collector_of", walking)
    monkeypatch.setattr(
        build_module, "write_provenance", lambda recipe, sources: build.out.mkdir(parents=True, exist_ok=True)
    )
    return asyncio.run(run_build(build, lambda what, share, num: None))


def _digests(build: Build) -> list[int]:
    return [request_digest(request) for _, request in read_requests(build.records, build.store, BadRecords())]


def files_of(folder: Path) -> dict[str, bytes]:
    sets = ("planner_sft", "critic_sft", "critic_rl", "sequences")
    return {str(p.relative_to(folder)): p.read_bytes() for name in sets for p in (folder / name).rglob("*.*")}


def test_the_sets_load_and_no_prompt_is_on_both_sides(monkeypatch, tmp_path):
    build = make_build(tmp_path)
    cards = {card.set: card for card in run(monkeypatch, build)}
    for kind in (Kind.PLANNER_SFT, Kind.CRITIC_SFT):
        train, heldout = (open_sft(build.out / kind / f"{side}.jsonl", kind) for side in ("train", "heldout"))
        assert (len(train), len(heldout)) == tuple(cards[kind].records[s]["records"] for s in ("train", "heldout"))
        assert not {r.source_prompt for r in train} & {r.source_prompt for r in heldout}
    tasks = list(open_tasks(build.out / "critic_rl/train.jsonl"))
    assert all(task.is_success == (task.scores.semantics == 9) for task in tasks)
    num_failed = cards["critic_rl"].records["train"]["failed"]
    assert num_failed == sum(not task.is_success for task in tasks)
    assert abs(num_failed - 0.75 * len(tasks)) <= 1


def test_a_build_of_no_request_is_refused(monkeypatch, tmp_path):
    (tmp_path / "requests.txt").write_text("a box <|im_end|>\n")
    with pytest.raises(RecordError, match=r"holds no request that is good: 1 bad record left out \(1 special_token\)"):
        run(monkeypatch, make_build(tmp_path, on_bad="skip"))
    (tmp_path / "requests.txt").write_text("\n")
    with pytest.raises(RecordError, match=r"requests.file is .*requests.txt, which holds no request$"):
        prepare_build(make_build(tmp_path).recipe)


def test_a_card_accounts_for_every_attempt(monkeypatch, tmp_path):
    build = make_build(tmp_path)
    for card in run(monkeypatch, build):
        assert card.stages["requests read"] == card.stages["requests walked"] == 30
        chosen = sum(counts["records"] for counts in card.records.values())
        whole = card.stages["attempts judged" if card.set.startswith("critic") else "requests walked"]
        assert chosen + sum(card.dropped.values()) == whole
        saved = json.loads((build.out / card.set / "card.json").read_text())
        assert saved["dropped"] == card.dropped
        assert saved["source"]["settings"]["success"] == {"semantics": 9.0, "quality": 5.0}
        assert str(tmp_path / "out") not in json.dumps(saved)
        assert f"# {card.set}, built by shapes_data" in (build.out / card.set / "card.md").read_text()


def test_a_build_that_dies_after_any_row_ends_with_the_same_sets_and_pays_nothing_twice(monkeypatch, tmp_path):
    whole = make_build(tmp_path, "whole", **{"requests.limit": 12})
    run(monkeypatch, whole)
    expected = files_of(whole.out)
    assert len(expected) > 20
    build = make_build(tmp_path, "parts", **{"requests.limit": 12, "in_flight": 1})
    generator, planner, append = StoreGenerator(build.store), FakePlanner(), TrajectoryLog.append

    async def last_words(log, trajectory):
        await append(log, trajectory)
        raise Dies

    num_deaths = 0
    monkeypatch.setattr(TrajectoryLog, "append", last_words)
    while True:
        try:
            run(monkeypatch, build, generator=generator, planner=planner)
            break
        except Dies:
            num_deaths += 1
    assert num_deaths == 12
    assert files_of(build.out) == expected
    assert set(planner.calls.values()) == {1}
    assert set(generator.calls.values()) == {1}


def test_a_torn_row_is_made_again(monkeypatch, tmp_path):
    build = make_build(tmp_path)
    run(monkeypatch, build)
    expected = files_of(build.out)
    (log,) = (build.out / "trajectories").glob("*.log")
    log.write_bytes(log.read_bytes()[:-40])
    planner = FakePlanner()
    run(monkeypatch, build, planner=planner)
    assert sum(planner.calls.values()) == 1
    assert files_of(build.out) == expected


def test_a_request_whose_images_left_the_store_is_carried_out_again(monkeypatch, tmp_path, capsys):
    build = make_build(tmp_path)
    run(monkeypatch, build)
    expected = files_of(build.out)
    trajectory = next(t for t in TrajectoryLog(build.out / "trajectories").read(_digests(build)) if t.attempts)
    build.store.image_path(trajectory.attempts[0].after).unlink()
    planner = FakePlanner()
    run(monkeypatch, build, planner=planner)
    assert planner.calls == {trajectory.request.id: 1}
    assert files_of(build.out) == expected
    lost = f"1 requests are carried out again: some of their images are no longer in {build.store.root}"
    assert lost in capsys.readouterr().err
    run(monkeypatch, build, planner=planner)
    assert sum(planner.calls.values()) == 1


def test_another_run_that_limits_the_store_evicts_nothing_of_a_live_build(monkeypatch, tmp_path):
    build = make_build(tmp_path, **{"requests.limit": 3})
    build.out.mkdir()
    begun = time.time() - 7 * 24 * 3600
    (build.out / "versions-0.json").write_text("{}")
    os.utime(build.out / "versions-0.json", (begun, begun))
    starts, make = [], make_sets

    def watched(*arguments, **settings):
        starts.append(oldest_run(build.store.root))
        return make(*arguments, **settings)

    monkeypatch.setattr(build_module, "make_sets", watched)
    run(monkeypatch, build)
    assert starts == pytest.approx([begun], abs=1)
    assert oldest_run(build.store.root) > begun + 60


def test_how_many_are_in_flight_changes_nothing(monkeypatch, tmp_path):
    outs = [make_build(tmp_path, name, in_flight=n) for name, n in (("one", 1), ("many", 30))]
    for build in outs:
        run(monkeypatch, build)
    assert files_of(outs[0].out) == files_of(outs[1].out)


def test_never_more_are_in_flight_than_the_recipe_says(monkeypatch, tmp_path):
    build, now, most = make_build(tmp_path, in_flight=3), 0, 0
    are_three = asyncio.Event()

    class Slow(FakePlanner):
        async def plan(self, request, seed, repeat=0):
            nonlocal now, most
            now += 1
            most = max(most, now)
            if most == 3:
                are_three.set()
            await asyncio.wait_for(are_three.wait(), 60)
            await asyncio.sleep(0.001)
            now -= 1
            return await super().plan(request, seed)

    run(monkeypatch, build, planner=Slow())
    assert most == 3


def test_hostile_requests_and_plans_are_counted_and_located_and_the_rest_is_built(monkeypatch, tmp_path):
    save_image(tmp_path / "good.png")
    save_png_header(tmp_path / "bomb.png", 100_000, 100_000)
    (tmp_path / "broken.png").write_bytes(b"no image")
    long_plan = json.dumps({"execution_plan": [{"step_number": n} for n in range(10_000)]})
    lines = [
        '{"request": "box 1"',
        '{"request": 7}',
        '{"request": "  "}',
        '{"request": "half \\ud800"}',
        '{"request": "box", "images": ["bomb.png"]}',
        '{"request": "box", "images": ["broken.png"]}',
        '{"request": "box", "images": ["../../etc/passwd"]}',
        '{"request": "<image> and <image>", "images": ["good.png"]}',
        '{"request": "box", "images": "good.png"}',
        '{"request": "box 2"}',
        '{"request": "box 2"}',
        '{"request": "what is it?", "images": ["good.png"]}',
        '{"request": "10,000 steps"}',
        '{"request": "fail"}',
        "[" * 10_000,
        "17",
    ]
    requests = tmp_path / "requests.jsonl"
    requests.write_text("\n".join(lines))
    overrides = {"requests.file": requests, "on_bad": "skip", "requests.image_root": tmp_path}
    build = make_build(tmp_path, **overrides)
    build = Build(build.recipe, open_requests(requests), build.sources, None)
    planner = FakePlanner({"10,000 steps": f"<answer>{long_plan}</answer>"})
    cards = run(monkeypatch, build, planner=planner)
    assert cards[0].bad == {
        "duplicate": 1,
        "empty": 1,
        "generate.error": 1,
        "image_broken": 1,
        "image_missing": 1,
        "image_too_large": 1,
        "json": 2,
        "marks": 1,
        "not_object": 1,
        "plan.num_steps": 1,
        "type": 2,
        "unicode": 1,
    } or cards[0].bad | {"image_outside": 1}
    assert cards[0].bad_examples["plan.num_steps"][0].startswith(f"{requests}:13: plan")
    assert cards[0].stages["requests read"] == 4
    assert open_sft(build.out / "planner_sft/train.jsonl", Kind.PLANNER_SFT)
    refused = make_build(tmp_path, "refused", **{**overrides, "on_bad": "raise"})
    with pytest.raises(RecordError, match=r"requests\.jsonl:1"):
        run(monkeypatch, Build(refused.recipe, open_requests(requests), refused.sources, None))


def test_a_failed_call_is_made_again_by_the_next_start_and_a_bad_answer_is_not(monkeypatch, tmp_path):
    build = make_build(tmp_path, on_bad="skip")

    class Flaky(FakePlanner):
        async def plan(self, request, seed, repeat=0):
            if request.text == "box 3":
                raise TeacherError("no answer in time")
            return ModelAnswer(seed, "no plan") if request.text == "box 4" else await super().plan(request, seed)

    bad = run(monkeypatch, build, planner=Flaky())[0].bad
    assert bad == {"plan.error": 1, "plan.tags": 1}
    planner = FakePlanner()
    assert run(monkeypatch, build, planner=planner)[0].bad == {"plan.tags": 1}
    assert sum(planner.calls.values()) == 1


def test_an_edited_request_is_walked_and_a_row_of_its_old_text_is_not_used(monkeypatch, tmp_path):
    requests = tmp_path / "requests.jsonl"

    def built(*texts: str) -> tuple[dict[str, int], set[str]]:
        requests.write_text("".join(json.dumps({"id": n, "request": text}) + "\n" for n, text in enumerate(texts)))
        build = make_build(tmp_path, **{"requests.file": requests, "split.heldout": 0.01})
        planner = FakePlanner()
        run(monkeypatch, Build(build.recipe, open_requests(requests), build.sources, None), planner=planner)
        records = map(json.loads, (build.out / "planner_sft/train.jsonl").read_text().splitlines())
        return dict(planner.calls), {record["source_prompt"] for record in records}

    assert built("box 1", "box 2") == ({"0": 1, "1": 1}, {"box 1", "box 2"})
    assert built("box 1", "box 3") == ({"1": 1}, {"box 1", "box 3"})
    assert built("box 1", "box 2") == ({}, {"box 1", "box 2"})


def test_an_outage_stops_the_build_and_the_same_command_goes_on(monkeypatch, tmp_path):
    (tmp_path / "requests.txt").write_text("".join(f"box {number}\n" for number in range(80)))
    build = make_build(tmp_path, on_bad="skip")

    class Down(FakePlanner):
        async def plan(self, request, seed, repeat=0):
            self.calls[request.id] += 1
            raise TeacherError("connection refused")

    down = Down()
    with pytest.raises(BuildStopped, match=r"50 of the last 50 requests, .* at plan: TeacherError: connection refused"):
        run(monkeypatch, build, planner=down)
    assert sum(down.calls.values()) < 60
    assert run(monkeypatch, build)[0].stages["plans read"] == 80


def test_a_bad_answer_ends_a_build_whose_recipe_says_so(monkeypatch, tmp_path):
    build = make_build(tmp_path)
    with pytest.raises(RecordError, match=r"requests\.txt:5: plan: tags: expected <answer>"):
        run(monkeypatch, build, planner=FakePlanner({"box 4": "no plan"}))


def test_the_rules_of_the_sets_may_change_and_what_was_walked_may_not(tmp_path):
    requests = tmp_path / "r.txt"
    requests.write_text("Show in 1 steps: a red box at the left\n")
    pairs = [f"requests.file={requests}", f"run_dir={tmp_path / 'out'}", f"store={tmp_path / 'store'}"]

    def prepare(*more: str) -> Build:
        return prepare_build(load_as(BuildRecipe, REPO / "recipes/build_shapes.yaml", [*pairs, *more]))

    write_provenance(prepare().recipe, prepare().sources)
    assert prepare("collect.tries=2").recipe.collect.tries == 2  # nothing was walked yet
    row = {"request": {"id": "1", "text": "a box", "images": []}}
    AppendLog(tmp_path / "out/trajectories", "trajectories").append([row])
    assert prepare("critic_rl.num_train=5", "in_flight=1").recipe.critic_rl.num_train == 5
    for change in ("collect.tries=2", f"store={tmp_path / 'other'}"):
        with pytest.raises(
            ValueError, match=rf"started with a different {change.partition('=')[0]} \(was .*, now .*\); put it back"
        ):
            prepare(change)
    versions = tmp_path / "out/versions.json"
    versions.write_text(versions.read_text().replace("recipes.shapes.teacher.plan@", "recipes.shapes.teacher.plan@0"))
    with pytest.raises(ValueError, match=r"planner\.fn \(was .*, now .*--accept-changed planner\.fn$"):
        prepare()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("planner.fn=recipes.shapes.teacher.nothing", "teacher has no nothing"),
        ("planner.fn=''", "teacher planner needs fn .* or ask.model"),
        ("planner.model=a/b", "a teacher has fn=recipes.shapes.teacher.plan and model=a/b; expected one"),
        ("expert.fn=recipes.shapes.teacher.nothing", "teacher has no nothing"),
        ("critic.prompt=recipes/prompts/planner.txt", "needs {instruction} once"),
        ("split.side=recipes.nothing.at_all", "split.side is 'recipes.nothing.at_all'"),
        ("collect.num_retries=0", "critic_rl.max_retried needs a measurement"),
        ("on_bad=maybe", "on_bad is 'maybe'"),
        ("split.heldout=2", "split.heldout is 2.0; expected a share above 0 and below 1"),
        ("critic_rl.failed_share=-1", "failed_share is -1"),
        ("critic_sft.max_sprad=1", "max_sprad.*max_spread"),
        ("generator.model=./no/such", "generator.model is ./no/such"),
        ("generator.pipeline=QwenImageEditPipeline", "generator: unsupported: .* does no text-to-image"),
    ],
)
def test_a_wrong_recipe_is_refused_before_anything_starts(tmp_path, override, message):
    requests = tmp_path / "r.txt"
    requests.write_text("a box\n")
    pairs = [f"requests.file={requests}", f"run_dir={tmp_path}/out", f"store={tmp_path}/store", override]
    with pytest.raises(ValueError, match=message):
        prepare_build(load_as(BuildRecipe, REPO / "recipes/build_shapes.yaml", pairs))


def test_a_generator_that_edits_alone_may_start_where_some_requests_have_images(tmp_path):
    requests = tmp_path / "r.jsonl"
    requests.write_text('{"request": "a box"}\n"no request"\n{"request": "add a box", "images": ["x.png"]}\n')
    pairs = [f"requests.file={requests}", f"run_dir={tmp_path}/out", f"store={tmp_path}/store"]
    pairs += ["generator.pipeline=QwenImageEditPipeline", "~generator.call.text_encoder_out_layers"]
    assert prepare_build(load_as(BuildRecipe, REPO / "recipes/build_shapes.yaml", pairs)).sources["generator"]


def test_prompts_that_would_all_be_one_are_not_paid_for():
    with pytest.raises(ValueError, match=r"num_refinements=4 at temperature 0 would be .* set critic\.ask\.call\.temp"):
        load_as(BuildRecipe, REPO / "recipes/build_data.yaml", ["critic.ask.call.temperature=0"])


def test_every_recipe_of_data_reads():
    recipe = load_as(BuildRecipe, REPO / "recipes/build_data.yaml")
    assert needs_ray(recipe.roles)
    assert not needs_ray(load_as(BuildRecipe, REPO / "recipes/build_shapes.yaml").roles)
    assert recipe.judge.repeats == 3


def test_a_limit_reads_no_further(monkeypatch, tmp_path):
    build = make_build(tmp_path, **{"requests.limit": 4})
    numbers = asyncio.run(
        collect_all(
            build,
            make_collector(Store(tmp_path)),
            TrajectoryLog(tmp_path / "log"),
            BadRecords(OnBad.RAISE),
            lambda what, share, num: None,
        )
    )
    assert list(numbers.values()) == [1, 2, 3, 4]
