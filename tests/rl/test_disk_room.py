"""A disk without room for what a training saves is told before its actors start."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from actors.config import LoraConfig, PolicyConfig
from rl.disk_room import bytes_saved, check_disk
from rl.plan.models import model_size
from rl.recipe.config import REPO
from tests.support.training import make_recipe

CRITIC = str(REPO / "recipes/shapes/weights/critic")


def with_room(monkeypatch, num_bytes):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=num_bytes))


def test_the_line_has_the_key_and_sizes_that_can_be_read(tmp_path, monkeypatch):
    recipe = make_recipe(tmp_path / "runs/one", policy=PolicyConfig(model=CRITIC))
    model = model_size(CRITIC)
    assert model is not None
    needed = bytes_saved(recipe.policy, model)
    assert 2**20 < needed < 2**30
    with_room(monkeypatch, needed)
    check_disk(recipe)
    with_room(monkeypatch, 3 * 2**20)
    told = rf"^run_dir is \S*runs/one: .* take about {needed / 2**20:.1f} MiB, and 3\.0 MiB are free there; make room"
    with pytest.raises(ValueError, match=told):
        check_disk(recipe)


def test_a_model_that_is_not_here_is_left_to_the_policy(tmp_path, monkeypatch):
    with_room(monkeypatch, 0)
    check_disk(make_recipe(tmp_path, policy=PolicyConfig(model="owner/name")))


def test_what_is_not_trained_has_no_moments_and_adapters_take_the_place_of_weights():
    model = model_size(CRITIC)
    assert model is not None
    num, vision = model.num_parameters, model.parts["vision"]
    whole = PolicyConfig(model=CRITIC, dtype="bfloat16", freeze_vision=False)
    assert bytes_saved(whole, model) == num * (2 + 4 + 8)
    assert bytes_saved(replace(whole, freeze_vision=True), model) == num * (2 + 4 + 8) - 8 * vision
    assert bytes_saved(replace(whole, lora=LoraConfig(rank=4)), model) < num * (2 + 4)
