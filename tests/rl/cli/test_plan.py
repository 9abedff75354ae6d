"""The command `interleave plan`, and `train --dry-run`.

Slow: each test simulates schedules of many steps.
"""

import json
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import yaml

from rl.cli.main import main
from rl.plan.devices import Devices
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe, to_yaml
from tests.support.record_files import rl_record, write_lines

pytestmark = pytest.mark.slow

CRITIC, SHAPES = str(REPO / "recipes" / "critic_grpo.yaml"), str(REPO / "recipes" / "shapes_grpo.yaml")

SPLIT = ["max_staleness=0", "policy.num_ranks=4", "samplers.num_samplers=2", "generator.num_replicas=2"]
"""Whatever the recipe's own is."""

HERE = {"PYTHONPATH": str(REPO)}

OWN = """
from rewards.needs import needs


@needs("red")
def needs_red(evidence):
    return float(evidence.extra["red"])


def look(before, after, instruction):
    return 1.0


class Judge:
    def __init__(self, size):
        self.size = size

    def score(self, look):
        raise NotImplementedError


def estimator(token_level_rewards, response_mask, index):
    return token_level_rewards
"""


@pytest.fixture(autouse=True)
def no_gpu_and_nothing_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("rl.cli.plan.devices_here", lambda: Devices(1, 0, None, 2))


@pytest.mark.parametrize("options", [["--gpus", "8", "--gpu", "H100"], ["--resolved"]])
def test_a_plan_takes_seconds_and_imports_nothing_heavy(options):
    """Bar: five seconds; measured in CPU time, as other work on the machine is no fault of the plan.

    Slow: it starts a command.
    """
    code = (
        "import sys, time; from rl.cli.main import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'torch', 'ray', 'vllm', 'transformers', 'diffusers', 'verl'} & sys.modules.keys()), "
        "time.process_time())"
    )
    command = [sys.executable, "-c", code, "plan", CRITIC, *options, *SPLIT]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, check=True)
    code, _, rest = done.stdout.splitlines()[-1].partition(" ")
    assert (code, rest[:2]) == ("0", "[]")
    assert float(rest[3:]) < 5, f"{time.monotonic() - began:.1f} s of wall time"


@pytest.mark.parametrize("command", [["plan"], ["train", "--dry-run"]])
def test_the_resolved_recipe_is_what_a_run_writes_and_may_be_read_again(command, capsys, tmp_path):
    said = ["--resolved", "rollout.n=6", "reward=dr_grpo", "evaluation.seed=${seed}", "seed=7"]
    assert main([command[0], CRITIC, *command[1:], *said]) == 0
    printed = capsys.readouterr().out
    assert printed == to_yaml(load_recipe(CRITIC, said[1:]))
    resolved = yaml.safe_load(printed)
    assert (resolved["rollout"]["n"], resolved["evaluation"]["seed"]) == (6, 7)
    assert not resolved["algorithm"]["normalise_by_std"]
    (tmp_path / "resolved.yaml").write_text(printed)
    assert load_recipe(tmp_path / "resolved.yaml") == load_recipe(CRITIC, said[1:])


@pytest.mark.parametrize("recipe", ["critic_sft", "story", "build_data"])
def test_recipes_of_every_kind_are_resolved(recipe, capsys, tmp_path):
    assert main(["plan", str(REPO / "recipes" / f"{recipe}.yaml"), "--resolved", "name=other"]) == 0
    printed = capsys.readouterr().out
    assert "name: other" in printed.splitlines()
    (tmp_path / "resolved.yaml").write_text(printed)
    assert main(["plan", str(tmp_path / "resolved.yaml"), "--resolved"]) == 0
    assert capsys.readouterr().out == printed


def test_train_does_not_take_resolved_for_a_start(capsys, tmp_path):
    assert main(["train", SHAPES, "--resolved", f"run_dir={tmp_path}/run"]) == 2
    assert "say it with --dry-run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_with_simulated_devices_there_is_a_whole_plan(capsys, tmp_path):
    """Slow: seconds of computing."""
    file = tmp_path / "plan.json"
    assert main(["plan", CRITIC, "--gpus", "8", "--json", str(file), *SPLIT]) == 0
    text = capsys.readouterr().out
    for word in ("who is where", "memory of a GPU", "calls", "times", "s a step", "best split", "one step ahead"):
        assert word in text
    assert "missing  data.train: data/critic_rl.jsonl is not there" in text
    plan = json.loads(file.read_text())
    assert plan["fits"]
    assert plan["stages"]["sources"]["policy"] == "documented defaults"
    assert plan["splits"]["best"]["step_s"] < plan["prediction"]["step_s"]
    assert plan["run_seconds"] == pytest.approx(812 * plan["prediction"]["step_s"])
    assert {role["role"] for role in plan["memory"]} == {"policy", "samplers", "generator"}
    again = tmp_path / "again.json"
    overrides = plan["splits"]["best"]["overrides"].split()
    assert main(["plan", CRITIC, "--gpus", "8", "--json", str(again), *SPLIT, *overrides]) == 0
    assert json.loads(again.read_text())["prediction"]["step_s"] == pytest.approx(plan["splits"]["best"]["step_s"])


def test_gpu_hours_count_every_gpu_of_every_node(capsys, tmp_path):
    """Slow: seconds of computing."""
    file = tmp_path / "plan.json"
    command = ["plan", CRITIC, "--nodes", "2", "--gpus", "8", "--json", str(file)]
    assert main(command) == 0
    text, plan = capsys.readouterr().out, json.loads(file.read_text())
    hours = plan["gpu_hours"]["run"]
    assert hours == pytest.approx(16 * plan["run_seconds"] / 3600)
    assert plan["gpu_hours"]["epoch"] is None, "no records are here"
    assert f"GPU hours        {hours:,.1f} for the run on 16 GPUs; --gpu-price USD adds their cost" in text
    assert "no price  judge: set judge.usd_per_million_input_tokens" in text
    assert "no price  generator" not in text, "it is on GPUs of the run"
    assert main([*command, "--gpu-price", "2.5"]) == 0
    assert f"{hours:,.1f} (US $ {2.5 * hours:,.2f}) for the run on 16 GPUs\n" in capsys.readouterr().out
    assert json.loads(file.read_text())["gpu_usd_per_run"] == pytest.approx(2.5 * hours)


def test_gpu_hours_of_an_epoch_are_told_where_the_records_are(capsys, tmp_path):
    data = write_lines(tmp_path / "data.jsonl", [rl_record(number, is_success=number % 2 == 0) for number in range(32)])
    assert main(["plan", CRITIC, "--gpus", "8", f"data.train={data}", "num_steps=4"]) == 0
    text = capsys.readouterr().out
    assert "32 records, an epoch is 2 steps" in text
    [line] = [line for line in text.splitlines() if line.startswith("GPU hours")]
    assert " for the run on 8 GPUs, " in line
    assert " for an epoch; " in line


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["judge.max_concurrency=8"], "judge (now 8)"),
        (
            ["generator.name=gpt-image", "generator.gpus_per_replica=0", "generator.max_concurrency=2"],
            "generator (now 2)",
        ),
    ],
)
def test_a_service_that_the_run_waits_for_is_named_with_the_key_to_raise(settings, said, capsys):
    assert main(["plan", CRITIC, "--gpus", "8", *settings]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "busiest: " in line]
    stage, _, now = said.partition(" ")
    assert re.search(rf"busiest: {stage} \(\d+%\): raise {stage}\.max_concurrency {re.escape(now)}$", line)


def test_with_too_few_devices_each_role_says_what_it_lacks(capsys):
    assert main(["plan", CRITIC, "--gpus", "5", *SPLIT]) == 2
    text = capsys.readouterr().out
    assert "samplers.num_samplers=2 with samplers.gpus_per_sampler=1: 1 of 2 have a place" in text
    assert "generator.num_replicas=2" in text
    assert "if there were room for it" in text
    assert main(["plan", CRITIC, *SPLIT]) == 2
    text = capsys.readouterr().out
    assert "policy.num_ranks=4 with policy.gpus_per_rank=1: 0 of 4 have a place" in text
    assert "no times" in text


def test_cards_that_cannot_hold_the_model_are_as_few(capsys):
    assert main(["plan", CRITIC, "--gpus", "8", "--gpu", "RTX 4090"]) == 2
    assert "too large" in capsys.readouterr().out


def test_gpus_that_a_recipe_leaves_unused_are_told_with_the_overrides_that_use_them(capsys, tmp_path):
    """Slow: seconds of computing."""
    own = ["policy.num_ranks=3", "samplers.num_samplers=1", "generator.num_replicas=4"]
    two, file = ["--nodes", "2", "--gpus", "8", "--gpu", "H100"], tmp_path / "plan.json"
    assert main(["plan", CRITIC, *two, "--json", str(file), *own]) == 0
    text, plan = capsys.readouterr().out, json.loads(file.read_text())
    best = plan["splits"]["best"]["overrides"]
    assert plan["unused_gpus"] == 8
    assert f"unused  8 of 16 GPUs; the best split is {best}" in " ".join(text.split("\n"))
    assert main(["plan", CRITIC, *two, "--json", str(file), *best.split()]) == 0
    assert "unused" not in capsys.readouterr().out
    assert json.loads(file.read_text())["unused_gpus"] == 0


def test_the_demo_runs_on_this_machine(capsys):
    assert main(["plan", SHAPES]) == 0
    text = capsys.readouterr().out
    assert "1,024 records, an epoch is 43 steps" in text
    assert "missing" not in text
    assert "unused" not in text


def test_a_recipe_is_wrong_in_the_words_of_train(capsys):
    wrong = [CRITIC, "rollout.grps_per_step=4"]
    assert main(["plan", *wrong]) == 2
    said = capsys.readouterr().err
    assert main(["train", *wrong]) == 2
    assert capsys.readouterr().err == said
    assert "grps_per_step" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gpu", "H900"], "--gpu is 'H900'; known are H100"),
        (["--times", "no/such/run"], "--times no/such/run: there is no such folder or file"),
        (["--gpus", "9" * 12], "expected at most 100,000 GPUs in all"),
        (["ray_address=auto"], "say --gpus and --nodes"),
    ],
)
def test_what_cannot_be_planned_is_one_line(arguments, words, capsys):
    assert main(["plan", CRITIC, *arguments]) == 2
    assert words in capsys.readouterr().err


def test_there_is_no_plan_for_no_gpus(capsys):
    with pytest.raises(SystemExit) as left:
        main(["plan", CRITIC, "--gpus", "0"])
    assert left.value.code == 2
    assert "expected a whole number, 1 or more" in capsys.readouterr().err


def test_a_dry_run_starts_nothing_and_says_whether_it_could(capsys, tmp_path):
    """Slow: seconds of computing."""
    folder = tmp_path / "run"
    assert main(["train", SHAPES, "--dry-run", f"run_dir={folder}"]) == 0
    said = capsys.readouterr().out
    assert "s a step" in said
    assert said.splitlines()[-1].startswith("not tried: rewards on samples (interleave reward test), ")
    assert not folder.exists()
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("")
    assert main(["train", SHAPES, "--dry-run", f"run_dir={folder}"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    folder = tmp_path / "other"
    missing = ["policy.gpus_per_rank=0", "data.train=no_such.jsonl", f"run_dir={folder}"]
    assert main(["train", SHAPES, "--dry-run", *missing]) == 2
    assert "missing  data.train: no_such.jsonl is not there" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
@pytest.mark.parametrize("key", ["run_dir", "store"])
def test_a_folder_that_cannot_be_written_to_ends_it_in_one_line(options, key, capsys, tmp_path):
    (tmp_path / "file").touch()
    places = {"run_dir": tmp_path / "run", "store": tmp_path / "store", key: tmp_path / "file/there"}
    assert main(["train", SHAPES, *options, *(f"{name}={place}" for name, place in places.items())]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"interleave: {key} is {tmp_path}/file/there, which cannot be written to by user ")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_that_the_disk_has_no_room_for_prints_its_plan_and_says_so(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("rl.disk_room.shutil.disk_usage", lambda folder: SimpleNamespace(free=2**20))
    assert main(["train", SHAPES, "--dry-run", f"run_dir={tmp_path}/run"]) == 2
    said = capsys.readouterr()
    assert "s a step" in said.out
    assert "MiB, and 1.0 MiB are free there; make room, or set run_dir to a larger disk" in said.err


@pytest.mark.parametrize(
    ("labels", "settings", "said"),
    [
        ([True, True, False], ["rollout.groups_per_step=3"], "1 failed record, but each step needs 2 (rollout."),
        ([True, False, False], ["rollout.groups_per_step=4"], "1 successful record, but each step needs 2 (rollout."),
        (
            [True, False],
            ["rollout.groups_per_step=3", "rollout.success_share=null"],
            "2 records, but each step needs 3 ",
        ),
    ],
)
@pytest.mark.parametrize("command", [["plan"], ["train", "--dry-run"], ["train"]])
def test_too_few_records_end_it_in_one_line_before_anything_starts(command, labels, settings, said, capsys, tmp_path):
    records = [rl_record(number, is_success=label) for number, label in enumerate(labels)]
    data, run = write_lines(tmp_path / "few.jsonl", records), tmp_path / "run"
    wrong = [f"data.train={data}", f"run_dir={run}", *settings]
    assert main([command[0], SHAPES, *command[1:], *wrong]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"interleave: data.train={data}: {said}")
    assert line.endswith("lower groups_per_step or bring more records")
    assert not (run / "recipe.yaml").exists()


def test_a_dry_run_advises_the_command_that_has_the_option(capsys, tmp_path):
    assert main(["train", CRITIC, "--dry-run", f"run_dir={tmp_path}/run"]) == 2
    assert "give interleave plan RECIPE --gpus 8 --gpu H100, or --times RUN" in capsys.readouterr().out
    assert main(["plan", CRITIC]) == 2
    assert "tells them; give --gpus 8 --gpu H100, or --times RUN" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["plan"], ["train", "--dry-run"]])
def test_a_reward_that_is_not_there_ends_it_in_one_line(command, capsys, tmp_path):
    wrong = ["reward=[{fn: rewards.stepwise.semantc_gain, weight: 1}]", f"run_dir={tmp_path}/run"]
    assert main([command[0], SHAPES, *command[1:], *wrong]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "reward term rewards.stepwise.semantc_gain" in line


def test_what_the_user_wrote_is_imported_and_nothing_heavy(tmp_path):
    """Slow: it starts a command."""
    (tmp_path / "my.py").write_text(OWN)
    code = (
        "import sys; from rl.cli.main import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'torch', 'ray', 'vllm', 'transformers', 'diffusers', 'verl'} & sys.modules.keys()))"
    )
    own = ["reward=[{fn: ./my.py:needs_red, weight: 1}]", "evidence.red.fn=./my.py:look", "judge.scorer="]
    own += ["judge.kind=./my.py:Judge", "algorithm.advantage=./my.py:estimator", "judge.options.size=2"]
    command = [sys.executable, "-c", code, "plan", SHAPES, *own]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | HERE, check=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_one_of_a_thing_is_not_several(capsys, tmp_path):
    records = [rl_record(number, is_success=number == 0) for number in range(2)]
    data = write_lines(tmp_path / "two.jsonl", records)
    settings = ["rollout.groups_per_step=2", "rollout.success_share=0.5", "num_steps=1"]
    main(["plan", SHAPES, f"data.train={data}", f"data.heldout={data}", "evaluation.num_tasks=3", *settings])
    said = capsys.readouterr().out
    assert "2 records, an epoch is 1 step; " in said
    assert " for 1 step without evaluations; " in said
    assert "notice  data.heldout has 2 records: evaluation.num_tasks=3 takes no more than there are" in said
