"""The log of an SFT run: metrics.jsonl, the trackers and the terminal."""

from collections.abc import Mapping, Sequence

from rl.recipe.sft_config import SftRecipe
from rl.sft.evaluation import Figures
from rl.tracking.step_log import StepLog


class SftLog(StepLog[SftRecipe]):
    """Collects a step's metrics and writes them together when the step ends."""

    columns = (
        ("loss", "sft/loss", "{:7.4f}"),
        ("grad", "policy/grad_norm", "{:6.2f}"),
        ("lr", "policy/lr", "{:7.1e}"),
        ("tokens", "sft/tokens", "{:7.0f}"),
        ("seconds", "seconds/step", "{:7.1f}"),
    )
    waits_for = "examples"
    _num_left_out = 0

    def left_out(self, reasons: Sequence[str]) -> None:
        """Count records that cannot be learned from; warn with the first one's reason."""
        self.metrics({"sft/left_out": float(len(reasons))})
        if reasons and not self._num_left_out:
            self.warn(f"left out: {reasons[0]} (sft/left_out counts the others)")
        self._num_left_out += len(reasons)

    def evaluation(self, figures: Figures) -> None:
        """Log an evaluation of this step."""
        self.metrics(figures)
        shown = "  ".join(
            f"{name.removeprefix('eval/')} {value:.4g}" for name, value in figures.items() if name.startswith("eval/")
        )
        self.say(f"[bold]evaluation[/] after step {self._step}  {shown}")

    def _rates(self, seconds: float) -> Mapping[str, float]:
        busy = seconds - self._row.get("seconds/evaluation", 0.0) - self._row.get("seconds/export", 0.0)
        rate = self._row.get("sft/tokens", 0.0) / busy
        return {
            "throughput/taught_tokens_per_s": rate,
            "throughput/taught_tokens_per_s_per_rank": rate / self._recipe.policy.num_ranks,
        }
