"""What services count, out of a run's metrics: calls, dollars, faults."""

from collections.abc import Iterable

_SERVICES = ("generator/", "judge/", "evidence/")


def counted_names(names: Iterable[str], counted: str) -> set[str]:
    """Return the metrics of a step that count something of a service; an ensemble's count its members', too.

    >>> sorted(counted_names(["judge/usd", "judge/0-gpt/usd", "judge_total/usd", "generator/usd", "reward/usd"], "usd"))
    ['generator/usd', 'judge/usd']
    """
    found = {name for name in names if name.endswith(f"/{counted}") and "_total/" not in name}
    outer = {name: name.rpartition("/")[0].rpartition("/")[0] for name in found if name.startswith(_SERVICES)}
    return {name for name, service in outer.items() if f"{service}/{counted}" not in found}
