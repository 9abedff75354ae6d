"""The card of a built set: counts by stage, what was dropped and why, the models and settings that made it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

REASONS = {
    "no_plan": "the planner gave no plan that could be read",
    "not_complete": "a step was not accepted within its tries",
    "no_critique": "the teacher gave no critique that could be read",
    "not_judged": "no judge scored it; has_agreement=false and no max_spread take the critic's word (not for RL)",
    "disagreement": "teacher and scores disagree about success",
    "judge_unsure": "the judge's repeats are too far apart",
    "refinement_not_tried": "the teacher's prompt was not tried",
    "refinement_no_better": "the teacher's prompt did not raise the score enough",
    "retry_fixes_it": "the same prompt succeeds with other seeds: nothing to learn",
    "never_solved": "the critic's further prompts succeed too rarely: a group that teaches nothing",
    "always_solved": "the critic's further prompts succeed too often: a group that teaches nothing",
    "not_measured": "its difficulty was not measured (collect.num_measured and its tries)",
    "other_set": "its request is for the critic's other set (split.rl_share)",
    "duplicate": "says the same as another record",
    "prompt_is_held_out": "its prompt is held out",
    "enough_of_request": "its request has enough records (per_request)",
    "enough_of_prompt": "its instruction has enough records (per_prompt)",
    "balance": "there are too few of the other label (failed_share)",
    "enough": "the set is full (num_train, num_heldout)",
}
"""What each rule's name means, in the order in which the rules are applied."""


@dataclass(frozen=True)
class Source:
    """What all sets of a build have in common."""

    name: str
    seed: int
    models: Mapping[str, Mapping[str, str]]
    """Role -> what identifies it by content."""
    settings: Mapping[str, object]
    """The recipe, without what depends on the machine."""


@dataclass
class Card:
    """The card of one set."""

    set: str
    source: Source
    stages: dict[str, int] = field(default_factory=dict)
    """Counts by stage of the build, in order."""
    bad: dict[str, int] = field(default_factory=dict)
    """Bad requests, and trajectories that ended early, by kind."""
    bad_examples: dict[str, list[str]] = field(default_factory=dict)
    candidates: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    records: dict[str, dict[str, int]] = field(default_factory=dict)
    """Side -> the number of records, of failed attempts among them, and of records wanted."""

    def write(self, folder: Path) -> None:
        """Write `card.json` and `card.md`."""
        self.dropped = {name: self.dropped[name] for name in REASONS if self.dropped.get(name)}
        (folder / "card.json").write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        (folder / "card.md").write_text("\n".join(self._lines()) + "\n", encoding="utf-8")

    def _lines(self) -> list[str]:
        lines = [f"# {self.set}, built by {self.source.name}", "", f"Seed {self.source.seed}.", ""]
        lines += ["| records | in all | failed | wanted |", "|---|---:|---:|---:|"]
        for side, counts in self.records.items():
            lines.append(f"| {side} | {counts['records']} | {counts.get('failed', '')} | {counts['wanted'] or 'all'} |")
        lines += ["", "| stage | count |", "|---|---:|"]
        lines += [f"| {name} | {count} |" for name, count in self.stages.items()]
        lines.append(f"| candidates of this set | {self.candidates} |")
        lines += ["", "| dropped | why | count |", "|---|---|---:|"]
        lines += [f"| {name} | {REASONS[name]} | {count} |" for name, count in self.dropped.items()]
        if self.bad:
            lines += ["", "| bad | count | for example |", "|---|---:|---|"]
            for kind, count in self.bad.items():
                example = self.bad_examples.get(kind, [""])[0].replace("|", "\\|")
                lines.append(f"| {kind} | {count} | {example} |")
        lines += ["", "| model | is |", "|---|---|"]
        lines += [
            f"| {role} | {', '.join(f'{k} {v}' for k, v in what.items())} |"
            for role, what in self.source.models.items()
        ]
        return [*lines, "", "The settings are in card.json."]
