"""A run that is killed at eight moments comes to what it comes to when it is left alone (`benchmarks/exactly_once`)."""

import pytest

from benchmarks.exactly_once.__main__ import try_all
from benchmarks.exactly_once.matrix import KEPT, Cell

CHOSEN = [
    Cell("driver", "rollout", 0),
    Cell("driver", "bill", 2),
    Cell("driver", "save", 1),
    Cell("driver", "metrics", 0),
    Cell("driver", "evaluation", 2),
    Cell("driver", KEPT, 1),
    Cell("driver", "end", 0),
    Cell("both", "rollout", 1),
]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_eight_kills_lose_nothing_and_double_nothing(tmp_path):
    """Slow: eleven runs and more lives of them, each a process that is killed."""
    tried = try_all(CHOSEN, 1, tmp_path)
    assert [one.kills for one in tried] == [1] * len(CHOSEN)
    breaches = {str(one.cell): run.wrong for one in tried for run in one.runs if any(run.breaches.values())}
    assert breaches == {}
    assert all(run.difference <= 1e-5 for one in tried if one.cell.k == 0 for run in one.runs)
