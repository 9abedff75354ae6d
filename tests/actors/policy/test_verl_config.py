"""The recipe's policy in verl's words."""

from dataclasses import replace

import pytest

from actors.config import PolicyConfig
from tests.support.source_tree import REPO

CRITIC = REPO / "recipes" / "shapes" / "weights" / "critic"
CONFIG = PolicyConfig(model=str(CRITIC), gpus_per_rank=1, attn_implementation="flash_attention_2")


@pytest.mark.parametrize(
    ("shared_prefix", "has_flash_attn", "attention"),
    [
        (True, True, "flash_attention_2"),
        (True, False, "sdpa"),  # the vision tower's; text layers have torch's own kernel
        (False, False, "flash_attention_2"),  # transformers says what is missing
    ],
)
def test_packed_training_needs_no_flash_attn(shared_prefix: bool, has_flash_attn: bool, attention: str, monkeypatch):
    from actors.policy import verl_config

    monkeypatch.setattr(verl_config, "find_spec", lambda name: name if has_flash_attn else None)
    config = verl_config.training_config(replace(CONFIG, shared_prefix=shared_prefix), 10)
    assert config.model_config.override_config == {"attn_implementation": attention}


def test_gradients_are_sharded_between_micro_batches_and_ranks_share_what_the_recipe_says():
    from actors.policy.verl_config import engine_config

    config = engine_config(replace(CONFIG, num_ranks=4, sequence_parallel=2, shard_ranks=2), is_offloaded=False)
    assert not config.use_no_sync_for_gradient_accumulation
    assert (config.fsdp_size, config.ulysses_sequence_parallel_size) == (2, 2)
    assert engine_config(CONFIG, is_offloaded=False).fsdp_size == -1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_ranks": 3, "sequence_parallel": 2}, r"policy\.sequence_parallel=2 needs .*a multiple of it \(it is 3\)"),
        ({"num_ranks": 2, "sequence_parallel": 2, "shared_prefix": False}, "needs policy.shared_prefix"),
        ({"num_ranks": 4, "shard_ranks": 3}, r"policy\.num_ranks=4 is no multiple of policy\.shard_ranks=3"),
    ],
)
def test_numbers_of_ranks_that_do_not_fit_are_named(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **settings)
