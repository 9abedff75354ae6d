"""Set-up shared by all tests."""

import gc
import os
import secrets
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.source_tree import REPO

# verl's wheel installs a top-level `tests`; ours must come first in the workers that Ray starts, too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
os.environ["WANDB_MODE"] = "offline"  # whoever has a key does not want our tests in their project
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A process sends the token of its first Ray to every later one, which refuses another, or none: all have the same.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
# Each HTTP client reads the certificates that it trusts, for 20 ms; a folder's are not read before they are needed.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(REPO / "tests")
# Ray starts a worker for each CPU ahead. Most actors have settings of their own and get another process.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
if "PYTEST_XDIST_WORKER" in os.environ:  # it shares the cores: threads that wait for each other would keep both busy
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no fault of an example's. Examples are the same in each run, so that no change fails
# for a text that it has nothing to do with. `pytest --hypothesis-profile exploring` looks for others.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("exploring", settings.get_profile("ours"), derandomize=False)
settings.load_profile("ours")

# What is imported stays: a fifth of the time would go into looking through it for garbage, at the end above all.
gc.disable()
gc.set_threshold(100_000, 10, 100)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files of slow tests alone where none is wanted: to import them takes as long as many a fast test."""
    return True if config.option.markexpr == "not slow" and collection_path.name.endswith("_slow.py") else None


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_unconfigure():
    gc.freeze()


@pytest.fixture
def quick_retries(monkeypatch):
    """Wait a hundredth as long between the attempts of a paid call, and for an endpoint that has failed."""
    from actors.metered import endpoints, retry

    wait_s = retry._wait_s
    monkeypatch.setattr(retry, "_wait_s", lambda *arguments: wait_s(*arguments) / 100)
    monkeypatch.setattr(endpoints, "FIRST_COOLING_S", endpoints.FIRST_COOLING_S / 100)
