"""`GET /metrics`: the numbers of `/status`, as Prometheus reads them."""

from collections.abc import Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_NO_NUMBERS = ("generator", "result_queue_size")
"""What a generator can do does not change; the other one is a field of the public system's that is always 0."""


def exposition(status: Mapping[str, object]) -> bytes:
    """Return a status as text for Prometheus, a gauge a number.

    >>> text = exposition({"pending_tasks": 2, "latency_s": {"p50": 0.5}, "model": "one"})
    >>> [line for line in text.decode().splitlines() if not line.startswith("#")]
    ['interleave_service_pending_tasks 2.0', 'interleave_service_latency_s_p50 0.5']
    """
    registry = CollectorRegistry()
    told = {name: value for name, value in status.items() if name not in _NO_NUMBERS}
    for name, value in _numbers("interleave_service", told):
        Gauge(name, "of GET /status", registry=registry).set(value)
    return generate_latest(registry)


def _numbers(prefix: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _numbers(f"{prefix}_{name}".replace("/", "_").replace(" ", "_"), part)
    elif isinstance(value, int | float):
        yield prefix, float(value)
