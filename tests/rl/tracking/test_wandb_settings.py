"""What W&B is told and what it would refuse: its own variables are obeyed, and a wrong one is one line at once."""

import pytest
from wandb.sdk.lib.wbauth.validation import check_api_key

from rl.cli import main as cli
from rl.recipe.config import REPO
from rl.recipe.jobs import TrackingConfig
from rl.recipe.wandb_project import check_project
from rl.tracking.trackers import check_trackers, start_trackers
from rl.tracking.wandb_settings import check_environment, wandb_arguments, wandb_mode
from tests.support.training import make_recipe

PROJECTS = ["team/proj", "a#b", "a?b", "a%b", "a:b", "a\\b", "x" * 129, "interleave", "x" * 128, "Ärger 1", "2024_11"]


@pytest.mark.parametrize("project", PROJECTS)
def test_a_project_is_refused_where_wandb_refuses_it(project):
    import wandb

    def is_taken(make, error) -> bool:
        try:
            make()
        except error:
            return False
        return True

    by_wandb = is_taken(lambda: wandb.Settings(project=project), wandb.errors.UsageError)
    assert is_taken(lambda: check_project(project), ValueError) == by_wandb


def test_a_wrong_project_is_one_line_before_anything_starts(tmp_path, capsys):
    arguments = ["train", str(REPO / "recipes/shapes_grpo.yaml"), f"run_dir={tmp_path}/run"]
    assert cli.main([*arguments, "tracking.project=team/proj"]) == 2
    told = capsys.readouterr().err
    assert told == (
        "interleave: command line: tracking.project is 'team/proj'; expected 1 to 128 characters and none of "
        "/ \\ # ? % :; a team or user is named by WANDB_ENTITY\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WANDB_MODE": "nonsense"}, "WANDB_MODE is 'nonsense'; expected online, offline or disabled"),
        ({"WANDB_MODE": "online"}, "WANDB_MODE is online, but WANDB_API_KEY is not set"),
        ({"WANDB_PROJECT": "team/proj"}, "WANDB_PROJECT is 'team/proj'; expected 1 to 128 characters"),
        ({"WANDB_ENTITY": "a team"}, "WANDB_ENTITY is 'a team'; expected a user's or team's name"),
        ({"WANDB_RUN_ID": "a/b"}, "WANDB_RUN_ID is 'a/b'"),
        ({"WANDB_NAME": "x" * 200}, "WANDB_NAME is 'xxx"),
        ({"WANDB_TAGS": "a,,b"}, "WANDB_TAGS is 'a,,b'; expected tags of 1 to 64 characters"),
        ({"WANDB_DIR": "/dev/null/x"}, r"WANDB_DIR is /dev/null/x, which cannot be written to .*; expected a folder"),
        ({"WANDB_DIR": "/proc/x"}, r"WANDB_DIR is /proc/x, which cannot be written to"),  # though root may write there
        ({"WANDB_API_KEY": "short"}, "WANDB_API_KEY has 5 characters; expected 40 or more"),
        ({"WANDB_RESUME": "maybe"}, "WANDB_RESUME is 'maybe': Input should be 'allow', 'must', 'never' or 'auto'"),
        ({"WANDB_BASE_URL": "nonsense"}, "WANDB_BASE_URL is 'nonsense': Input should be a valid URL"),
        ({"WANDB_SILENT": "maybe"}, "WANDB_SILENT is 'maybe': Input should be a valid boolean"),
    ],
)
def test_a_variable_that_wandb_would_refuse_is_named(variables, message, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        check_environment(variables)


_KEY = "0123456789abcdefghijABCDEFGHIJ_001234567"


@pytest.mark.parametrize("key", [_KEY, f"local-{_KEY}", f"a-b-{_KEY}", f"{_KEY}.b.c", "a.b.c"])
def test_a_key_that_wandb_takes_passes(key):
    assert check_api_key(key) is None
    check_environment({"WANDB_API_KEY": key})


@pytest.mark.parametrize("key", [_KEY[:39], f"local-{_KEY[:30]}", f"{_KEY[:20]}-{_KEY[20:]}", f"{_KEY} ", "a.b"])
def test_a_key_that_wandb_refuses_is_refused_and_not_shown(key):
    assert check_api_key(key)
    with pytest.raises(ValueError, match="WANDB_API_KEY has") as error:
        check_environment({"WANDB_API_KEY": key})
    assert key not in str(error.value)


def test_variables_that_wandb_takes_pass():
    check_environment({"WANDB_RESUME": "must", "WANDB_SILENT": "true", "WANDB_NOTES": "some", "WANDB_OF_MINE": "x"})


@pytest.mark.parametrize(
    ("variables", "mode"),
    [
        ({}, "offline"),
        ({"WANDB_API_KEY": "k"}, "online"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "dryrun"}, "offline"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, "disabled"),
        ({"WANDB_API_KEY": "k", "WANDB_DISABLED": "true"}, "disabled"),
        ({"WANDB_DISABLED": "false"}, "offline"),
        ({"WANDB_MODE": "online"}, "online"),
    ],
)
def test_the_mode_is_as_the_variables_say(variables, mode):
    assert wandb_mode(variables) == mode


def test_a_run_goes_where_recipe_and_variables_say():
    def arguments(project, **variables):
        return wandb_arguments(project=project, name="n", group="g", run_dir="runs/n", environ=variables)

    assert arguments("")["project"] == "interleave"
    assert arguments("", WANDB_PROJECT="theirs")["project"] == "theirs"
    assert arguments("mine", WANDB_PROJECT="theirs")["project"] == "mine"
    assert arguments("")["dir"] == "runs/n"
    named = arguments("", WANDB_DIR="/elsewhere", WANDB_NAME="a", WANDB_RUN_GROUP="b")
    assert (named["dir"], named["name"], named["group"]) == ("/elsewhere", "a", "b")


def test_disabled_means_that_wandb_is_not_even_imported(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    recipe = make_recipe(tmp_path, tracking=TrackingConfig(backends=["wandb"]))
    check_trackers(recipe.tracking)
    assert start_trackers(recipe, 1, []) == []
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("rl.tracking.trackers.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"tracking\.backends has tensorboard, which is not installed"):
        check_trackers(TrackingConfig(backends=["tensorboard"]))
