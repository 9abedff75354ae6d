"""Evidence of every kind that rewards read besides the judge's scores: one entry point."""

from collections.abc import Mapping
from pathlib import Path

from actors.config import EvidenceConfig, JudgeConfig
from actors.evidence.kind import kind_of
from actors.run_context import RunContext
from rollout.concurrency import all_of
from rollout.roles import EvidenceProvider


async def start_observers(
    evidence: Mapping[str, EvidenceConfig], store_root: Path | str, service: str, ledger_folder: Path | str | None
) -> dict[str, EvidenceProvider]:
    """Start the providers of evidence; return them by name. Raises ValueError for one that cannot work."""
    for name, config in evidence.items():
        check_evidence(name, config)
    starting = [
        kind_of(config).start(config, RunContext(store_root, f"{service}-{name}", ledger_folder, f"evidence/{name}"))
        for name, config in evidence.items()
    ]
    return dict(zip(evidence, await all_of(starting), strict=True))


def check_evidence(name: str, config: EvidenceConfig) -> None:
    """Raise ValueError if a function or class is missing, or something a judge needs: a prompt, a model, a key."""
    kind_of(config).check(name, config)


def check_evidence_settings(name: str, config: EvidenceConfig) -> None:
    """Raise ValueError for what `check_evidence` refuses, as far as that shows without keys and models: for a plan."""
    kind_of(config).check_settings(name, config)


def describe_evidence(config: EvidenceConfig) -> dict[str, str]:
    """Return what a piece of evidence depends on, by content. Raises ValueError if a file is missing."""
    return kind_of(config).describe(config)


def judges_of(evidence: Mapping[str, EvidenceConfig]) -> dict[str, JudgeConfig]:
    """Return the judges among the evidence, by their sections of the recipe."""
    return {f"evidence.{name}.judge": one.judge for name, one in evidence.items() if one.judge is not None}
