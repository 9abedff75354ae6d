"""The trackers that a recipe can name: each a line here and a file with its class, imported when asked for."""

from rewards.functions.import_path import load_object

BACKENDS = {
    "wandb": "rl.tracking.wandb_tracker:Wandb",
    "tensorboard": "rl.tracking.tensorboard_tracker:Tensorboard",
    "prometheus": "rl.tracking.prometheus_tracker:Prometheus",
}


def load_tracker(name: str) -> object:
    """Return a tracker's class by its name, or by its path where it is the user's own."""
    return load_object(BACKENDS.get(name, name))
