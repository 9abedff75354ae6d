"""What every rank of a policy is built from."""

from dataclasses import dataclass

from actors.config import LossConfig, PolicyConfig
from actors.image_limit import MODEL_PIXELS


@dataclass(frozen=True)
class PolicySetup:
    """The recipe's part, and what it takes from elsewhere."""

    config: PolicyConfig
    loss: LossConfig
    store_root: str
    total_steps: int
    """Updates, for the learning-rate schedule."""
    max_pixels: int = MODEL_PIXELS
    """Larger images are scaled down to it."""
