"""Real engines, started once for all tests of samplers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.engines import Engines


@pytest.fixture(scope="package")
def engines(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Engines]":
    from tests.support.engines import started_engines  # imports torch and vLLM's actor

    with started_engines(tmp_path_factory.mktemp("engines")) as started:
        yield started
