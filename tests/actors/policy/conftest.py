"""The real stack, started once for all tests of policies."""

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, started_stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started
