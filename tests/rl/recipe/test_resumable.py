"""What a resumed run may be given anew."""

import json
from dataclasses import replace

import pytest

from actors.config import GeneratorConfig, JudgeConfig, PolicyConfig, ServerConfig
from actors.judge.judge import kind_of
from actors.metered.config import EndpointConfig
from actors.store.append_log import AppendLog
from rewards.compose import TermConfig
from rl.recipe.config import REPO, DataConfig, RewardConfig, RolloutConfig
from rl.recipe.jobs import TrackingConfig
from rl.recipe.reader import load_recipe
from rl.recipe.resumable import forbidden_changes
from rl.run_dir.provenance import sources_of, write_provenance
from rl.run_dir.resume import check_run_dir
from tests.support.interrupted_run import learn_until
from tests.support.training import TERMS, make_recipe

JUDGE = JudgeConfig(kind="openai", model="judge-1")


def explained(recipe):
    return sources_of(recipe, kind_of(recipe.judge).describe(recipe.judge))


def changed(tmp_path, **changes):
    return forbidden_changes(make_recipe(tmp_path, judge=JUDGE), make_recipe(tmp_path, **{"judge": JUDGE} | changes))


def test_how_large_images_are_shown_is_kept(tmp_path):
    assert changed(tmp_path, max_pixels=4096) == ["max_pixels"]


def test_who_is_asked_and_for_how_much_may_change(tmp_path):
    endpoints = [
        EndpointConfig("http://other/v1", "OTHER_KEY", usd_per_million_input_tokens=2.0),
        EndpointConfig(usd_per_million_input_tokens=3.0),
    ]
    judge = replace(JUDGE, endpoints=endpoints, budget_calls=5, budget_usd=2.0, max_concurrency=3, timeout_s=9.0)
    assert changed(tmp_path, judge=judge, generator=GeneratorConfig(num_replicas=3)) == []
    again = replace(judge, endpoints=[replace(endpoints[0], requests_per_minute=60), endpoints[1]])
    assert forbidden_changes(make_recipe(tmp_path, judge=judge), make_recipe(tmp_path, judge=again)) == []
    dearer = replace(JUDGE, usd_per_million_input_tokens=2.0, usd_per_million_output_tokens=8.0)
    assert changed(tmp_path, judge=dearer) == []
    assert changed(tmp_path, num_steps=99, tracking=TrackingConfig(project="other")) == []


def test_a_judge_on_our_gpus_may_move_but_not_compute_otherwise(tmp_path):
    def differing(**server):
        one, other = ServerConfig(), ServerConfig(**server)
        judges = [JudgeConfig(kind="vllm", model="a/b", server=settings) for settings in (one, other)]
        was, is_now = (make_recipe(tmp_path, judge=judge) for judge in judges)
        return forbidden_changes(was, is_now)

    assert differing(gpus=0.5, port=8000, start_timeout_s=60.0) == []
    assert differing(dtype="float32", args={"quantization": "fp8"}) == [
        "judge.server.args.quantization",
        "judge.server.dtype",
    ]


def test_an_endpoint_may_come_but_no_other_model(tmp_path):
    old = replace(JUDGE, endpoints=[EndpointConfig("http://one/v1", model="m-1"), EndpointConfig("http://two/v1")])
    judges = {
        name: replace(old, endpoints=[*old.endpoints, EndpointConfig("http://new/v1", model=name)]) for name in "xy"
    }
    assert forbidden_changes(make_recipe(tmp_path, judge=old), make_recipe(tmp_path, judge=judges["x"])) == [
        "judge.endpoints.model"
    ]
    known = replace(old, endpoints=[EndpointConfig("http://new/v1", model="m-1"), *old.endpoints[::-1]])
    assert forbidden_changes(make_recipe(tmp_path, judge=old), make_recipe(tmp_path, judge=known)) == []
    was, is_now = (make_recipe(tmp_path, judge=_ensemble(name)) for name in ("judge-1", "judge-2"))
    assert forbidden_changes(was, is_now) == ["judge.members.1.endpoints.model"]


def _ensemble(name):
    asked = {"kind": "openai", "model": "judge-1", "endpoints": [{"base_url": "http://one/v1", "model": name}]}
    return JudgeConfig(kind="ensemble", members=[{"scorer": "recipes.shapes.judge.score"}, asked])


def test_other_prompts_rubrics_and_rewards_are_named_on_resume_and_each_start_is_kept(tmp_path):
    rubric, mine, prompt = tmp_path / "rubric.txt", tmp_path / "mine.py", tmp_path / "prompt.txt"
    rubric.write_text((REPO / JUDGE.semantics_rubric).read_text())
    prompt.write_text("Look. <image><image>")
    mine.write_text("def brief(evidence):\n    return 1.0\n")
    recipe = make_recipe(
        tmp_path / "run",
        judge=replace(JUDGE, semantics_rubric=str(rubric)),
        rollout=RolloutConfig(groups_per_step=4, n=8, prompt=str(prompt)),
        reward=RewardConfig([*TERMS, TermConfig(f"{mine}:brief", 0.5)]),
        data=DataConfig("train.jsonl", "heldout.jsonl"),
        policy=PolicyConfig(model="tiny-critic"),
        generator=GeneratorConfig(model="tiny-flux"),
    )
    write_provenance(recipe, explained(recipe))
    recipe = load_recipe(tmp_path / "run" / "recipe.yaml")
    check_run_dir(recipe, True, explained(recipe))
    write_provenance(recipe, explained(recipe))
    folder = tmp_path / "run"
    assert (folder / "versions-0.json").exists()
    assert (folder / "versions-1.json").read_text() == (folder / "versions.json").read_text()
    learn_until(folder, 5)
    for path, said in [(rubric, "judge.semantics"), (prompt, "rollout.prompt")]:
        kept = path.read_text()
        path.write_text(kept + "\nBe strict.")
        with pytest.raises(ValueError, match=rf"a different {said}\w* \(was .*, now .*\); put it back"):
            check_run_dir(recipe, True, explained(recipe))
        path.write_text(kept)
    check_run_dir(recipe, True, explained(recipe))
    mine.write_text("def brief(evidence):\n    return 2.0\n")
    with pytest.raises(ValueError, match=r"a different reward.brief \(was .*, now .*--accept-changed reward.brief$"):
        check_run_dir(recipe, True, explained(recipe))
    check_run_dir(recipe, True, explained(recipe), ["reward.brief"])
    write_provenance(recipe, explained(recipe))
    (noted,) = json.loads((folder / "versions.json").read_text())["changed"]
    assert (noted["after"], noted["key"]) == ("step_000005", "reward.brief")
    check_run_dir(recipe, True, explained(recipe))  # it was accepted for good
    write_provenance(recipe, explained(recipe))
    assert json.loads((folder / "versions.json").read_text())["changed"] == [noted]


def test_what_is_learned_may_not(tmp_path):
    assert changed(tmp_path, rollout=RolloutConfig(groups_per_step=4, n=4)) == ["rollout.n"]
    assert changed(tmp_path, judge=replace(JUDGE, model="judge-2", call={"temperature": 1})) == [
        "judge.call.temperature",
        "judge.model",
    ]
    assert changed(tmp_path, generator=GeneratorConfig(dtype="bfloat16")) == ["generator.dtype"]


def test_a_folder_whose_ledger_holds_samples_is_a_runs(tmp_path):
    """A run that was killed in its first evaluation has no metrics yet."""
    recipe = make_recipe(tmp_path)
    write_provenance(recipe)
    ledger = tmp_path / "ledger"
    check_run_dir(recipe, False)  # nothing was made: another recipe may take the folder
    AppendLog(ledger, "samples").append([{"phase": "before"}])
    with pytest.raises(ValueError, match="holds a run already; add --resume"):
        check_run_dir(recipe, False)
