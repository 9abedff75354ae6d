"""Settings of a teacher, which plans or criticises while data is built."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from actors.judge.config import JudgeConfig
from actors.judge.registry import traits_of as judge_traits
from actors.teacher.registry import KINDS, traits_of
from rollout.text.limits import PathText, RequiredPath, Tilde, check_fields, is_own, one_of_or_own


@dataclass(frozen=True)
class TeacherConfig:
    """A function, a model at OpenAI-compatible endpoints, or a local model behind the build's own vLLM servers."""

    prompt: RequiredPath = "???"
    """Prompt file: for the teacher, and for the records made from its answers."""
    fn: PathText = ""
    """A function by import path or in a file (`./mine.py:plan`): `plan(request, images, seed)` or
    `critique(before, after, instruction, prompt, seed)`, called with texts and PIL images; returns the answer's text,
    or a `Plan` or `Critique`. It must give equal answers for equal arguments."""
    ask: JudgeConfig = field(default_factory=lambda: JudgeConfig(kind="openai", max_concurrency=32))
    """Instead of `fn`: kind openai or vllm, with model, endpoints, prices, budget and call as for a judge."""

    kind: Annotated[str, Tilde(), one_of_or_own(*KINDS)] | None = None
    """Null: function if `fn` is given, else asked; or a class of your own: my_module:MyTeacher."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of a class of your own."""

    def __post_init__(self) -> None:
        check_fields(self, "teacher")
        if self.options and not is_own(self.kind):
            raise ValueError("a teacher's options are for a class of your own, which its kind names")
        if self.asked is not None and not judge_traits(self.ask.kind).is_asked:
            raise ValueError(f"a teacher's ask.kind is {self.ask.kind!r}; expected openai or vllm (or give fn)")

    @property
    def kind_name(self) -> str:
        """The kind of teacher: as set, or determined by whether `fn` is set."""
        return self.kind or ("function" if self.fn else "asked")

    @property
    def asked(self) -> JudgeConfig | None:
        """The model that is asked; None if none is."""
        return self.ask if traits_of(self.kind_name).is_asked else None
