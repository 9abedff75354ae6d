"""The kinds of judge that a recipe can name: each a line here and a file with its `KIND`, imported when asked for.

`KIND` is an `actors.judge.judge.JudgeKind`.
"""

from typing import ClassVar

from rewards.functions.import_path import load_object

KINDS = {
    "embedded": "actors.judge.kinds.embedded:KIND",
    "openai": "actors.judge.kinds.openai:KIND",
    "vllm": "actors.judge.kinds.vllm:KIND",
    "ensemble": "actors.judge.kinds.ensemble:KIND",
}
OWN_KIND = "actors.judge.kinds.user_class:KIND"
"""That of classes of the user's own."""


PROMPTS = frozenset(
    {
        "semantics_rubric",
        "quality_rubric",
        "semantics_pair_rubric",
        "quality_pair_rubric",
        "questions_prompt",
        "answers_prompt",
    }
)
SERVICE = frozenset({"base_url", "api_key_env", "endpoints"})
"""Keys that say where a model of others is asked."""
ASKING = (
    PROMPTS
    | SERVICE
    | {"model", "call", "server", "max_questions", "structured_output", "hedge_after_s", "max_reasoning_chars"}
)
"""Keys that do nothing where no model is asked."""


class JudgeTraits:
    """What a judge's settings are checked by."""

    is_asked: ClassVar[bool] = False
    """A model that answers prompts: with a rubric, repeats, and fit to be a teacher."""
    has_prices: ClassVar[bool] = False
    """Its calls cost US dollars, by the recipe's prices."""
    has_members: ClassVar[bool] = False
    """It is made of other judges, `judge.members`."""
    has_options: ClassVar[bool] = False
    """It takes `judge.options`."""
    unused: ClassVar[frozenset[str]] = frozenset()
    """Keys of `judge` that do nothing for it."""


def traits_of(kind: str) -> JudgeTraits:
    """Return what settings of a kind are checked by."""
    traits = load_object(KINDS.get(kind, OWN_KIND))
    assert isinstance(traits, JudgeTraits)
    return traits
