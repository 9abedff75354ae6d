"""The texts that a model is asked with as a judge, by rubric; read without what asks it."""

from __future__ import annotations

from dataclasses import dataclass

from actors.judge.config import JudgeConfig
from actors.judge.prompt_file import Prompt, read_prompt


@dataclass(frozen=True, slots=True)
class RubricPrompts:
    """The four texts of the rubric: one image or two side by side, semantics or quality."""

    semantics: Prompt
    quality: Prompt
    semantics_pair: Prompt
    quality_pair: Prompt

    @classmethod
    def read(cls, config: JudgeConfig) -> RubricPrompts:
        """Read a judge's prompt files. Raises ValueError with what is wrong in which."""
        fields = ("images", "instruction")
        return cls(
            semantics=_read(config, "semantics_rubric", fields=fields),
            quality=_read(config, "quality_rubric", num_images=1),
            semantics_pair=_read(config, "semantics_pair_rubric", fields=fields),
            quality_pair=_read(config, "quality_pair_rubric", num_images=2),
        )


@dataclass(frozen=True, slots=True)
class ChecklistPrompts:
    """Texts that ask for the questions, for their answers, and the quality rubric."""

    questions: Prompt
    answers: Prompt
    quality: Prompt

    @classmethod
    def read(cls, config: JudgeConfig) -> ChecklistPrompts:
        """Read a judge's prompt files. Raises ValueError with what is wrong in which."""
        return cls(
            questions=_read(config, "questions_prompt", fields=("instruction", "count")),
            answers=_read(config, "answers_prompt", fields=("images", "instruction", "questions")),
            quality=_read(config, "quality_rubric", num_images=1),
        )


def prompts_of(config: JudgeConfig) -> RubricPrompts | ChecklistPrompts:
    """Return the prompts that a judge's rubric asks with. Raises ValueError with what is wrong in which."""
    return ChecklistPrompts.read(config) if config.rubric == "checklist" else RubricPrompts.read(config)


def _read(config: JudgeConfig, key: str, *, fields: tuple[str, ...] = (), num_images: int = 0) -> Prompt:
    try:
        return read_prompt(getattr(config, key), fields=fields, num_images=num_images)
    except ValueError as error:
        raise ValueError(f"judge.{key}: {error}") from None
