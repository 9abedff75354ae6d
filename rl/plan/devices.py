"""What a plan is made for: GPUs that are said, or those of this machine, which nothing here wakes up."""

import os
import subprocess
from dataclasses import dataclass

from rl.plan.cards import Card, card_of

_TIMEOUT_S = 10.0
_MAX_GPUS = 100_000
"""More than any cluster has, and few enough to place roles on each."""


@dataclass(frozen=True)
class Devices:
    """Equal nodes of equal cards."""

    num_nodes: int
    gpus_per_node: int
    card: Card | None
    """None: there are none, or of a kind that is not known."""
    cores_per_node: int
    """CPU cores; of this machine where devices are simulated."""
    is_simulated: bool = False

    @property
    def num_gpus(self) -> int:
        return self.num_nodes * self.gpus_per_node

    def __str__(self) -> str:
        here = "simulated" if self.is_simulated else "this machine"
        if not self.num_gpus:
            return f"no GPU, {self.cores_per_node} CPU cores ({here})"
        nodes = f"{self.num_nodes} nodes of " if self.num_nodes > 1 else ""
        return f"{nodes}{self.gpus_per_node} x {self.card.name if self.card else 'an unknown GPU'} ({here})"


def simulated(num_nodes: int, gpus_per_node: int, gpu: str) -> Devices:
    """Return devices as they are said. Raises ValueError for a card that is not known, and for too many of them."""
    if num_nodes * gpus_per_node > _MAX_GPUS:
        raise ValueError(f"--nodes {num_nodes} --gpus {gpus_per_node}: expected at most {_MAX_GPUS:,} GPUs in all")
    return Devices(num_nodes, gpus_per_node, card_of(gpu), num_cores(), is_simulated=True)


def devices_here() -> Devices:
    """Return the GPUs of this machine that a run would see, as nvidia-smi and CUDA_VISIBLE_DEVICES say."""
    names = _names()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = names[: len([one for one in visible.split(",") if one.strip() not in ("", "-1")])]
    try:
        card = card_of(names[0]) if names else None
    except ValueError:
        card = None
    return Devices(1, len(names), card, num_cores())


def num_cores() -> int:
    """Return the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _names() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.splitlines() if line.strip()]
