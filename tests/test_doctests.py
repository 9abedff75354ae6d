"""The examples in docstrings are true."""

import doctest
import importlib
import linecache

import pytest

from tests.support.source_tree import PACKAGES, REPO, modules

WITH_EXAMPLES = sorted(
    path.relative_to(REPO).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for package in PACKAGES
    for path in modules(package)
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples(module):
    linecache.clearcache()  # each run looks at every file in it, and torch and verl leave thousands there
    tried = doctest.testmod(importlib.import_module(module), report=True)
    assert tried.attempted > 0
    assert tried.failed == 0
