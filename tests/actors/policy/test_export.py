"""An export holds what its model's folder has, whatever of it is missing or odd. Slow: builds tiny models."""

import json
import os

import pytest
import torch

from actors.policy.export import let_others_read, save_model
from tests.support.tiny_models import build_tiny_critic

pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path):
    return build_tiny_critic(tmp_path / "model")


def weights_of(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_generation_settings_are_copied_even_where_transformers_would_refuse_them(model, tmp_path):
    odd = json.loads((model / "generation_config.json").read_text()) | {"temperature": 0.1, "do_sample": False}
    (model / "generation_config.json").write_text(json.dumps(odd))
    save_model(str(model), weights_of(model), "float32", tmp_path / "export")
    assert json.loads((tmp_path / "export" / "generation_config.json").read_text()) == odd


def test_generation_settings_that_are_missing_are_derived_as_transformers_does(model, tmp_path):
    from transformers import AutoModelForImageTextToText

    (model / "generation_config.json").unlink()
    save_model(str(model), weights_of(model), "float32", tmp_path / "export")
    loaded, again = (AutoModelForImageTextToText.from_pretrained(path) for path in (model, tmp_path / "export"))
    for name in ("eos_token_id", "pad_token_id", "bos_token_id", "use_cache", "do_sample", "temperature"):
        assert getattr(again.generation_config, name) == getattr(loaded.generation_config, name)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_without_weights_it_is_tried_whether_the_rest_can_be_written(model, tmp_path):
    save_model(str(model), {}, "bfloat16", tmp_path / "trial")
    assert (tmp_path / "trial" / "config.json").exists()
    (model / "tokenizer.json").unlink()
    with pytest.raises((OSError, ValueError)):
        save_model(str(model), {}, "bfloat16", tmp_path / "again")


def test_files_have_the_mode_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        (tmp_path / "adapter").mkdir()
        (tmp_path / "adapter" / "weights").touch(mode=0o600)
        (tmp_path / "adapter" / "weights").chmod(0o600)
        let_others_read(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "adapter" / "weights").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
