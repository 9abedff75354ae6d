"""Two steps with every real component: Ray, verl's FSDP2, vLLM, FLUX.2-klein on Ray Serve, the judge, W&B offline."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from rich.console import Console

from actors.store.ledger import read_ledger
from rl.prepare import prepare
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe
from rl.run import run
from rl.tracking.metrics_file import read_metrics
from rollout.roles import BudgetSpent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train two steps until the budget is spent, then resume for a third. Slow: it starts every actor twice."""
    folder = tmp_path_factory.mktemp("run")
    overrides = [
        f"run_dir={folder}/run",
        f"store={folder}/store",
        "rollout.groups_per_step=4",
        "rollout.n=4",
        "evaluation.num_tasks=8",
        "num_steps=3",
        "save_every=1",
    ]
    recipe = REPO / "recipes" / "shapes_grpo.yaml"
    console = Console(quiet=True)
    # 8 looks before (of the 8 tasks, 4 failed: two answers each) and 8 a step: the budget ends in step 3.
    with pytest.raises(BudgetSpent, match="25 of 25 calls"):
        asyncio.run(run(prepare(load_recipe(recipe, [*overrides, "judge.budget_calls=25"])), console=console))
    assert "stopped before its last evaluation" in (folder / "run" / "report.html").read_text()
    assert not (folder / "run" / "export").exists()
    with pytest.raises(ValueError, match=r"a different rollout\.n \(was 4, now 8\); .* --accept-changed rollout\.n$"):
        prepare(load_recipe(recipe, [*overrides, "rollout.n=8"]), is_resumed=True)
    plan = prepare(load_recipe(recipe, [*overrides, "judge.budget_calls=1000"]), is_resumed=True)
    asyncio.run(run(plan, console=console))
    return folder / "run"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rollout.prompt=none.txt", "there is no such file"),
        ("policy.model=/none", "policy.model is /none"),
        ("algorithm.advantage=gropo", "algorithm.advantage is 'gropo'"),
        ("data.train=none.jsonl", "data.train: none.jsonl does not exist; looked for "),
        ("reward.terms.1.fn=rewards.none.f", "cannot import rewards.none"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(override, message):
    """Slow: it imports everything that a run does."""
    with pytest.raises(ValueError, match=message):
        prepare(load_recipe(REPO / "recipes" / "shapes_grpo.yaml", [override]))


def test_every_step_learned_and_was_published_verified(trained):
    """Slow: needs the real run of the fixture."""
    rows = [row for row in read_metrics(trained) if "policy/grad_norm" in row]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row["policy/grad_norm"] > 0 for row in rows)
    assert all(row["publish/max_logprob_gap"] < 1e-3 for row in rows)
    assert all(row["rollout/failure_share"] == 0 for row in rows)
    assert all(0 <= row[f"idle/{part}"] <= 1 for row in rows for part in ("policy", "samplers", "generator", "judge"))


def test_the_drivers_loop_was_never_held_up(trained):
    """Slow: needs the real run of the fixture."""
    assert all(row["driver/max_callback_ms"] < 50 for row in read_metrics(trained))


def test_the_ledger_has_every_sample_once(trained):
    """Slow: needs the real run of the fixture."""
    rows = list(read_ledger(trained / "ledger"))
    counts = Counter((row["phase"], row["step"]) for row in rows)
    assert counts == {("before", 0): 16, ("train", 1): 16, ("train", 2): 16, ("train", 3): 16, ("after", 3): 16}
    assert all(row["policy_version"] == row["step"] - 1 for row in rows if row["phase"] == "train")
    assert any(row["image"] for row in rows)


def test_the_run_is_explained_by_its_folder(trained):
    """Slow: needs the real run of the fixture."""
    assert {"torch", "verl", "commit"} <= set(json.loads((trained / "versions.json").read_text()))
    assert load_recipe(trained / "recipe.yaml").num_steps == 3
    (changed,) = json.loads((trained / "versions.json").read_text())["changed"]
    assert (changed["after"], changed["key"]) == ("step_000002", "judge.budget_calls")
    assert 'class="example"' in (trained / "report.html").read_text()
    assert list(trained.glob("wandb/offline-run-*"))


def test_the_export_loads_in_transformers_as_it_is(trained):
    """Slow: loads a real model."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    AutoProcessor.from_pretrained(trained / "export")
    assert AutoModelForImageTextToText.from_pretrained(trained / "export").num_parameters() > 1e6


def test_the_export_loads_in_vllm_as_it_is(trained):
    """Slow: starts a vLLM engine, in a process of its own."""
    script = (
        "import sys\n"
        "from actors.config import SamplerConfig\n"
        "from actors.sampler.vllm_engine import build_engine\n"
        "from vllm import SamplingParams\n"
        "engine = build_engine(SamplerConfig(max_model_len=256, kv_cache_gib=0.1), sys.argv[1])\n"
        "engine.add_request('one', 'instruction: a red square', SamplingParams(max_tokens=3, temperature=0))\n"
        "outputs = []\n"
        "while engine.has_unfinished_requests():\n"
        "    outputs += engine.step()\n"
        "print('tokens', len(outputs[-1].outputs[0].token_ids))\n"
    )
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCH_COMPILE_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(trained / "export")],
        env=environment,
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "tokens 3" in done.stdout, done.stderr[-2000:]
