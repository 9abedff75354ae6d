"""What the schedules came to beside their references, and which bars are missed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.pipeline.measure import Measured
from benchmarks.pipeline.scenario import NUM_TASKS, SCHEDULES, N, Scenario, Schedule
from rl.plan.simulation import Simulated

FEWEST, MOST = 0.99, 1.05
"""Bars of measured / reference."""
_STAGES = {"samplers": "sample", "generator": "generate", "judge": "judge"}
"""Names of the stages in a sample's `seconds`."""


@dataclass(frozen=True)
class Compared:
    """One schedule, measured and simulated."""

    schedule: Schedule
    measured: Measured
    reference: Simulated

    @property
    def seconds(self) -> float:
        """Of the counted steps."""
        return self._since_warm(self.measured.step_ends)

    @property
    def ratio(self) -> float:
        """Measured / reference."""
        return self.seconds / self.reference.seconds

    @property
    def overheads(self) -> dict[str, float]:
        """Seconds that a sample took longer at each stage than in the simulation: means."""
        counted = [total for step, total in self.measured.sample_seconds.items() if step > self.schedule.warm_steps]
        num_samples = max(1, len(counted)) * NUM_TASKS * N
        return {
            stage: sum(total[key] for total in counted) / num_samples - self.reference.sample_seconds[stage]
            for stage, key in _STAGES.items()
        }

    @property
    def cpu_share(self) -> float:
        """Cores that all processes of the run kept busy."""
        return self._since_warm(self.measured.cpu_seconds) / self.seconds

    @property
    def others_share(self) -> float:
        """Cores that everything else on the machine kept busy: what it takes away, no schedule can make up for."""
        return max(0.0, self._since_warm(self.measured.machine_cpu_seconds) / self.seconds - self.cpu_share)

    @property
    def driver_cpu_seconds(self) -> float:
        """CPU time of the driver in one step."""
        return self._since_warm(self.measured.driver_cpu_seconds) / (
            len(self.reference.ends) - self.schedule.warm_steps
        )

    def _since_warm(self, by_step: Sequence[float]) -> float:
        return by_step[-1] - by_step[self.schedule.warm_steps]


@dataclass(frozen=True)
class Verdict:
    """All schedules of one run."""

    scenario: Scenario
    compared: Mapping[str, Compared]

    def speedups(self, name: str) -> tuple[float, float] | None:
        """Return how many times as fast as the serial schedule one is, and would be without overhead."""
        if (serial := self.compared.get(SCHEDULES[0].name)) is None:
            return None
        one = self.compared[name]
        return serial.seconds / one.seconds, serial.reference.seconds / one.reference.seconds

    def missed(self) -> list[str]:
        """Return what is not as it has to be."""
        missed = []
        for name, one in self.compared.items():
            missed += [f"{name}: {text}" for text in one.measured.wrong[:5]]
            if not FEWEST <= one.ratio <= MOST:
                missed.append(f"{name}: measured / reference is {one.ratio:.3f}, not between {FEWEST} and {MOST}")
            speedups = self.speedups(name)
            if speedups is not None and speedups[0] < one.schedule.bar:
                missed.append(f"{name}: {speedups[0]:.2f} times as fast as serial, less than {one.schedule.bar:g}")
        return missed + self._differing_rewards()

    def show(self, console: Console) -> None:
        """Print the table: seconds of a step, and how many cores the run and all else kept busy."""
        table = Table(title=f"{self.scenario.num_steps} steps, all times / {self.scenario.factor:g}; seconds a step")
        for column in ("", "measured", "reference", "ratio", "speed-up", "bar", "ideal", "cores", "others", "busiest"):
            table.add_column(column, justify="right" if column else "left")
        for name, one in self.compared.items():
            steps, (speedup, ideal) = self.scenario.num_steps, self.speedups(name) or (0.0, 0.0)
            times = [f"{seconds / steps:.3f}" for seconds in (one.seconds, one.reference.seconds)]
            speed = [f"{speedup:.2f}", f"{one.schedule.bar:g}", f"{ideal:.2f}"] if speedup else ["", "", ""]
            cores = [f"{share:.2f}" for share in (one.cpu_share, one.others_share)]
            busy = f"{one.reference.bottleneck} {one.reference.busy[one.reference.bottleneck]:.0%}"
            table.add_row(name, *times, f"{one.ratio:.3f}", *speed, *cores, busy)
        console.print(table)
        for name, one in self.compared.items():
            overheads = ", ".join(f"{stage} {seconds * 1e3:+.0f}" for stage, seconds in one.overheads.items())
            console.print(
                f"{name}: ms that a sample took longer than in the simulation: {overheads}; "
                f"driver {one.driver_cpu_seconds:.2f} s of CPU a step, "
                f"{one.measured.slowest_callback}; updates that samples are old: {_ages(one.measured)}"
            )

    def save(self, file: Path) -> None:
        """Write everything as JSON."""
        found = {
            "factor": self.scenario.factor,
            "num_steps": self.scenario.num_steps,
            "seed": self.scenario.seed,
            "schedules": {name: self._figures(name) for name in self.compared},
            "missed": self.missed(),
        }
        file.write_text(json.dumps(found, indent=1))

    def _figures(self, name: str) -> dict[str, object]:
        one, (speedup, ideal) = self.compared[name], self.speedups(name) or (None, None)
        start, *ends = one.measured.step_ends
        return {
            "seconds": one.seconds,
            "reference_seconds": one.reference.seconds,
            "ratio": one.ratio,
            "speedup": speedup,
            "ideal_speedup": ideal,
            "bar": one.schedule.bar,
            "warm_steps": one.schedule.warm_steps,
            "step_ends": [end - start for end in ends],
            "reference_step_ends": one.reference.ends,
            "busy": one.reference.busy,
            "cores": one.cpu_share,
            "cores_of_others": one.others_share,
            "driver_cpu_seconds": one.driver_cpu_seconds,
            "slowest_callback": one.measured.slowest_callback,
            "overheads": one.overheads,
            "staleness": dict(sorted(one.measured.staleness.items())),
        }

    def _differing_rewards(self) -> list[str]:
        """Compare the rewards of what all schedules have drawn."""
        differing = []
        (first, one), *others = self.compared.items()
        for name, other in others:
            common = one.measured.rewards.keys() & other.measured.rewards.keys()
            if not common:
                differing.append(f"{first} and {name} have no sample in common")
            if wrong := [key for key in common if one.measured.rewards[key] != other.measured.rewards[key]]:
                differing.append(f"{first} and {name} reward {len(wrong)} samples differently, {min(wrong)} among them")
        return differing


def _ages(measured: Measured) -> str:
    return ", ".join(f"{age}: {count:,}" for age, count in sorted(measured.staleness.items()))
