"""Settings of a teacher: who plans or criticises while data is built."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.judge.config import JudgeConfig
from rollout.text.limits import PathText, RequiredPath, check_fields


@dataclass(frozen=True)
class TeacherConfig:
    """A function, a model at OpenAI-compatible endpoints, or a local model behind vLLM servers of the build's own."""

    prompt: RequiredPath = "???"
    """Prompt file: what the teacher is asked, and what the records that it teaches ask."""
    fn: PathText = ""
    """A function by import path or in a file (`./mine.py:plan`): `plan(request, images, seed)` or
    `critique(before, after, instruction, prompt, seed)` of texts and PIL images; returns the answer's text, or a
    `Plan` or `Critique`. It must give equal answers for equal arguments."""
    ask: JudgeConfig = field(default_factory=lambda: JudgeConfig(kind="openai", max_concurrency=32))
    """Instead of `fn`: kind openai or vllm, with model, endpoints, prices, budget and call as a judge has them."""

    def __post_init__(self) -> None:
        check_fields(self, "teacher")
        if not self.fn and self.ask.kind not in ("openai", "vllm"):
            raise ValueError(f"a teacher's ask.kind is {self.ask.kind!r}; expected openai or vllm (or give fn)")
