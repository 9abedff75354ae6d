"""Set-up shared by all tests."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPO = Path(__file__).resolve().parent.parent

# verl's wheel installs a top-level `tests`; ours must come first in the workers that Ray starts, too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
os.environ["WANDB_MODE"] = "offline"  # whoever has a key does not want our tests in their project
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A machine that has much else to do is no fault of an example's.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

_HEAVY = (
    "batch budget_stop cli driver_loop inspect lora outage_stop policy_rows report rescore sft_lessons shapes_critic "
    "token_logprobs tracking train"
)
"""Files of tests (test_...) that need verl, transformers or matplotlib, which take seconds to import."""

# What is imported stays: a tenth of the time would go into looking through it for garbage.
gc.disable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Hand out whole files, and all heavy ones to one process: each import is then paid for once."""
    from xdist.scheduler import LoadFileScheduling

    heavy = {f"tests/test_{name}.py" for name in _HEAVY.split()}

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "heavy" if file in heavy else file

    return Files(config, log)


def pytest_collection_finish():
    gc.freeze()
    gc.enable()
