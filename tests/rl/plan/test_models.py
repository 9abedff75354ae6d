"""Sizes of models: from folders, from the hub's cache, from what is known of a name."""

import json
import shutil
from math import prod

import pytest

from rl.plan.known_models import CRITICS
from rl.plan.models import _shapes, model_size, pipeline_size
from rl.plan.tensor_shapes import EMBEDDING, HEAD, LAYERS
from rl.recipe.config import REPO

WEIGHTS = REPO / "recipes" / "shapes" / "weights"


@pytest.mark.parametrize("name", ["critic", "planner"])
def test_a_config_tells_as_many_parameters_as_the_weights_have(name):
    size = model_size(str(WEIGHTS / name))
    written = list(_shapes(WEIGHTS / name / "model.safetensors"))
    assert size is not None
    assert size.num_parameters == sum(prod(shape) for shape in written)
    assert sum(one.count for one in size.tensors) == len(written)


def test_a_pipelines_parts_are_those_of_its_files():
    size = pipeline_size(str(WEIGHTS / "generator"))
    assert set(size.parts) == {"text_encoder", "transformer", "vae"}
    (file,) = (WEIGHTS / "generator" / "transformer").glob("*.safetensors")
    assert size.transformer == sum(prod(shape) for shape in _shapes(file))


def test_a_hub_id_is_looked_up_in_the_kept_table():
    size = model_size("Qwen/Qwen3-VL-8B-Instruct")
    assert size.where == "kept table"
    assert size.parts[LAYERS] == 6_946_071_552
    assert size.parts[EMBEDDING] == size.parts[HEAD] == 151_936 * 4096
    assert size.cache_values_per_token == 2 * 36 * 8 * 128
    assert size.pixels_per_token == 32 * 32
    assert model_size("Qwen/Qwen3-VL-4B-Thinking").parts[HEAD] == 0, "its head is its embedding"
    assert model_size("me/my-model") is None
    assert pipeline_size("black-forest-labs/FLUX.2-klein-9b-kv").transformer == 9_078_581_248
    assert pipeline_size("Qwen/Qwen-Image") is None


def test_a_folder_of_the_checkout_is_found_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_size("recipes/shapes/weights/critic").hidden_size == 128


def test_a_snapshot_in_the_hubs_cache_goes_before_the_table(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--Qwen--Qwen3-VL-8B-Instruct" / "snapshots" / "0abc"
    snapshot.mkdir(parents=True)
    config = CRITICS["Qwen3-VL-2B"]
    (snapshot / "config.json").write_text(json.dumps(config))
    size = model_size("Qwen/Qwen3-VL-8B-Instruct")
    assert (size.hidden_size, size.where) == (2048, str(snapshot))


def test_a_model_of_another_kind_has_no_known_size(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert model_size(str(tmp_path)) is None


def test_files_that_are_broken_are_said(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        model_size(str(tmp_path))
    folder = tmp_path / "generator"
    shutil.copytree(WEIGHTS / "generator", folder)
    (file,) = (folder / "vae").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="is no safetensors file"):
        pipeline_size(str(folder))
    file.write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match="longer than the file"):
        pipeline_size(str(folder))
