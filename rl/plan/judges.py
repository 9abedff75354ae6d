"""Every judge that a recipe asks in the end."""

from collections.abc import Iterator

from actors.config import JudgeConfig
from rl.recipe.config import Recipe


def judges_asked(recipe: Recipe) -> Iterator[tuple[str, JudgeConfig]]:
    """Yield them by the recipe's keys: an ensemble's members, and the judges of further evidence, too."""
    yield from _members("judge", recipe.judge)
    for name, evidence in recipe.evidence.items():
        if evidence.judge is not None:
            yield from _members(f"evidence.{name}.judge", evidence.judge)


def _members(key: str, judge: JudgeConfig) -> Iterator[tuple[str, JudgeConfig]]:
    if not judge.member_configs:
        yield key, judge
    for number, member in enumerate(judge.member_configs):
        yield from _members(f"{key}.members.{number}", member)
