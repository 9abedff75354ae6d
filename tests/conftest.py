"""Set-up shared by all tests."""

import gc
import os

from hypothesis import HealthCheck, settings

from tests.support.source_tree import REPO

# verl's wheel installs a top-level `tests`; ours must come first in the workers that Ray starts, too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
os.environ["WANDB_MODE"] = "offline"  # whoever has a key does not want our tests in their project
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A machine that has much else to do is no fault of an example's.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

# What is imported stays: a fifth of the time would go into looking through it for garbage, at the end above all.
gc.disable()
gc.set_threshold(10_000, 10, 100)


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_unconfigure():
    gc.freeze()
