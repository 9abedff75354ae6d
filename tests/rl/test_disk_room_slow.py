"""What is asked for before the actors start is what they ask for. Slow: it imports transformers' classes and peft."""

from dataclasses import replace

import pytest

import actors  # noqa: F401  (first: makes torchvision importable beside a CPU build of torch)
from actors.config import PolicyConfig
from rl.disk_room import bytes_saved
from rl.plan.models import model_size
from rl.recipe.config import REPO

pytestmark = pytest.mark.slow
CRITIC = str(REPO / "recipes/shapes/weights/critic")


@pytest.mark.parametrize("is_frozen", [False, True])
def test_the_estimate_is_what_the_policy_counts(is_frozen):
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from actors.policy import export

    with torch.device("meta"):
        module = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(CRITIC))
    module.tie_weights()
    if is_frozen:
        module.model.visual.requires_grad_(False)
    config = replace(PolicyConfig(model=CRITIC), freeze_vision=is_frozen)
    model = model_size(CRITIC)
    assert model is not None
    assert bytes_saved(config, model) == export.bytes_saved(config, module)
