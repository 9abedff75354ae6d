"""Training: the loop, recipes, GRPO mathematics, evaluation, checkpoints, tracking and the command line."""

import actors  # noqa: F401  (first: it makes torchvision importable beside a CPU build of torch)

__version__ = "0.1.0"
