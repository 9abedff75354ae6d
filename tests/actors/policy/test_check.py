import json

import pytest

from actors.config import LossConfig, PolicyConfig
from actors.policy.check import check_loss, check_policy


@pytest.fixture
def model(tmp_path):
    heads = {"num_attention_heads": 12, "num_key_value_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": heads}))
    return str(tmp_path)


def sharing(size: int) -> PolicyConfig:
    return PolicyConfig(model="model", num_ranks=size, sequence_parallel=size, ranks_per_node=size)


@pytest.mark.parametrize("size", [1, 2, 4, 12])
def test_ranks_may_share_heads_evenly(model, size):
    check_policy(sharing(size), model)


@pytest.mark.parametrize("size", [3, 5, 6, 8, 24])
def test_heads_that_cannot_be_shared_are_refused_before_anything_starts(model, size):
    with pytest.raises(ValueError, match=rf"policy\.sequence_parallel={size} does not divide .* 12 and 4 key heads"):
        check_policy(sharing(size), model)


def test_a_model_that_is_on_a_hub_is_left_to_its_ranks(tmp_path):
    check_policy(sharing(5), "owner/name")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        check_policy(sharing(2), str(tmp_path))


def test_a_loss_that_would_teach_wrongly_is_refused():
    with pytest.raises(ValueError, match="'geo_mean' cannot be used here: it averages within a micro-batch"):
        check_loss(LossConfig(policy_loss="geo_mean"))
    check_loss(LossConfig())
