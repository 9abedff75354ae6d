"""What a policy's loss and model must be for its settings, read before anything starts."""

import json
from pathlib import Path

from actors.config import UNFIT_LOSSES, LossConfig, PolicyConfig
from actors.user_loss import load_user_loss
from rollout.text.limits import is_own


def check_loss(config: LossConfig) -> None:
    """Raise ValueError for a policy loss that cannot be trained with."""
    if is_own(config.policy_loss):
        load_user_loss(config.policy_loss)
    if why := UNFIT_LOSSES.get(config.policy_loss):
        raise ValueError(f"algorithm.loss.policy_loss {config.policy_loss!r} cannot be used here: {why}")


def check_policy(config: PolicyConfig, model: str) -> None:
    """Raise ValueError for settings that a model, given by its folder, cannot be trained with.

    A model that is still on a hub is checked when its ranks start.
    """
    file, size = Path(model) / "config.json", config.sequence_parallel
    if size == 1 or not file.is_file():
        return
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}); get the model anew") from None
    text = whole.get("text_config", whole)
    heads = text.get("num_attention_heads", size)
    key_heads = text.get("num_key_value_heads", heads)
    # Each rank has whole heads: a share of the key heads, or one that several ranks have.
    if heads % size or (key_heads % size and size % key_heads):
        raise ValueError(
            f"policy.sequence_parallel={size} does not divide the heads of {model}, which has {heads} and {key_heads} "
            "key heads; ranks that share a sequence share its heads"
        )
