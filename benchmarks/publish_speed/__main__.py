"""What a verified publish costs on CPU, part by part: `python -m benchmarks.publish_speed`.

1 GB of random float32 in the tensor shapes of the released model goes from one actor to another, by each transport and
as it was done before, in turns; a plain copy of the same bytes is the measure. Exit code 1 where a bar is missed.
"""

import statistics

import ray

from benchmarks.ending import run_main
from benchmarks.publish_speed.sides import Receiving, Sending, Setting

ROUNDS = 5
VERIFICATION_BAR, TRANSFER_BAR, SPEEDUP_BAR = 2.0, 1.5, 3.0
CHANGED = 0.01
"""Share of the values that change between two publishes of changes."""
SETTING = Setting()
WAYS = ("shared_memory", "broadcast", "object_store", "changes")


def main() -> int:
    """Print the table; return 1 where a bar is missed."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        measured = _measure()
    finally:
        ray.shutdown()
    return _print(measured)


def _measure() -> dict[str, list[dict[str, float]]]:
    receiver = Receiving.remote(SETTING)
    sender = Sending.remote(receiver, SETTING)
    measured: dict[str, list[dict[str, float]]] = {}
    for number in range(ROUNDS + 1):
        found = {"plain copy": {"whole": ray.get(sender.copy.remote())}}
        for way in WAYS:
            if way == "changes":
                ray.get(sender.publish.remote(way))  # what changes are found with is kept by a publish of them alone
            ray.get(sender.change.remote(CHANGED))
            found[way] = ray.get(sender.publish.remote(way))
        found["before"] = ray.get(sender.publish_as_before.remote())
        if number:  # the first round warms up: what vLLM's loader writes, and the copy that changes are found with
            for way, figures in found.items():
                measured.setdefault(way, []).append(figures)
    return measured


def _print(measured: dict[str, list[dict[str, float]]]) -> int:
    def median(way: str, what: str) -> float:
        return statistics.median(figures.get(what, 0.0) for figures in measured[way])

    copy = median("plain copy", "whole")
    num_bytes = SETTING.num_bytes
    print(f"{num_bytes / 1e9:.2f} GB of float32, one thread a side; medians of {ROUNDS}")
    print(f"{'':<16}{'MB sent':>9}{'transfer':>10}{'verification':>14}{'whole':>9}   seconds (plain copies)")
    print(f"{'plain copy':<16}{num_bytes / 1e6:>9.0f}{'':>10}{'':>14}{copy:>9.3f}")
    for way in ("before", *WAYS):
        cells = [f"{median(way, what):.2f} ({median(way, what) / copy:.1f})" for what in ("transfer", "verification")]
        whole = median(way, "whole")
        shown = ["", ""] if way == "before" else cells
        print(
            f"{way:<16}{median(way, 'bytes') / 1e6:>9.0f}{shown[0]:>12}{shown[1]:>14}{whole:>9.3f} ({whole / copy:.1f})"
        )
    bars = {
        "verification, plain copies": (max(median(way, "verification") for way in WAYS) / copy, VERIFICATION_BAR, "<="),
        "shared memory's transfer, plain copies": (median("shared_memory", "transfer") / copy, TRANSFER_BAR, "<="),
        "whole publish, times as fast": (
            median("before", "whole") / median("shared_memory", "whole"),
            SPEEDUP_BAR,
            ">=",
        ),
    }
    missed = False
    for name, (value, bar, sign) in bars.items():
        holds = value <= bar if sign == "<=" else value >= bar
        missed |= not holds
        print(f"{name:<40}{value:>7.2f}  {sign} {bar:g}  {'ok' if holds else 'MISSED'}")
    return int(missed)


if __name__ == "__main__":
    run_main(main)
