"""What a recipe names by its path is found, or said to be missing."""

import pytest

from rl.recipe.paths import model_path


def test_a_folder_without_a_config_is_no_model(tmp_path):
    with pytest.raises(ValueError, match=r"^policy\.model is .*: it holds no config\.json or model_index\.json, so"):
        model_path(str(tmp_path), "policy.model")
    assert model_path(str(tmp_path), "generator.model", is_plain=False) == str(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert model_path(str(tmp_path), "policy.model") == str(tmp_path)
    assert model_path("owner/name", "policy.model") == "owner/name"
