"""Settings of a teacher, which plans or criticises while data is built."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from actors.config import SamplerConfig
from actors.judge.config import JudgeConfig
from actors.judge.registry import traits_of as judge_traits
from actors.teacher.registry import KINDS, traits_of
from rollout.text.limits import (
    PathText,
    PositiveInt,
    RequiredPath,
    Temperature,
    Tilde,
    check_fields,
    is_own,
    one_of_or_own,
)


@dataclass(frozen=True)
class TeacherConfig:
    """A function, a model that is asked (at endpoints or behind vLLM servers of the build's own), or a checkpoint."""

    prompt: RequiredPath = "???"
    """Prompt file: for the teacher, and for the records made from its answers."""
    fn: PathText = ""
    """A function by import path or in a file (`./mine.py:plan`): `plan(request, images, seed)` or
    `critique(before, after, instruction, prompt, seed)`, called with texts and PIL images; returns the answer's text,
    or a `Plan` or `Critique`. It must give equal answers for equal arguments."""
    ask: JudgeConfig = field(default_factory=lambda: JudgeConfig(kind="openai", max_concurrency=32))
    """Instead of `fn`: kind openai or vllm, with model, endpoints, prices, budget and call as for a judge."""
    model: PathText = ""
    """Instead of either: folder or hub id of a checkpoint that the build's own samplers serve, such as the critic that
    is to learn from what an expert says of its tries."""
    temperature: Temperature = 0.0
    """Of `model`'s answers."""
    max_tokens: PositiveInt = 1024
    """Longest answer of `model`."""
    samplers: SamplerConfig = field(default_factory=SamplerConfig)
    """Where `model` runs."""

    kind: Annotated[str, Tilde(), one_of_or_own(*KINDS)] | None = None
    """Null: function if `fn` is given, served if `model` is, else asked; or a class of your own: my_mod:MyTeacher."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of a class of your own."""

    def __post_init__(self) -> None:
        check_fields(self, "teacher")
        if self.options and not is_own(self.kind):
            raise ValueError("a teacher's options are for a class of your own, which its kind names")
        if self.fn and self.model:
            raise ValueError(f"a teacher has fn={self.fn} and model={self.model}; expected one of them")
        if self.asked is not None and not judge_traits(self.ask.kind).is_asked:
            raise ValueError(f"a teacher's ask.kind is {self.ask.kind!r}; expected openai or vllm (or give fn)")

    @property
    def kind_name(self) -> str:
        """The kind of teacher: as set, or determined by which of `fn` and `model` is set."""
        return self.kind or ("function" if self.fn else "served" if self.model else "asked")

    @property
    def is_set(self) -> bool:
        """Whether it says who answers."""
        return bool(self.kind or self.fn or self.model or self.ask.model)

    @property
    def asked(self) -> JudgeConfig | None:
        """The model that is asked; None if none is."""
        return self.ask if traits_of(self.kind_name).is_asked else None

    @property
    def served(self) -> SamplerConfig | None:
        """Where its model runs; None: it has none of its own."""
        return self.samplers if traits_of(self.kind_name).is_served else None
