"""The words of the project as types: task, response, critique, scores, reward, sample, group.

Everything here is plain data: picklable, without tensors or pixels. An image is named by a
reference (`ImageRef`), its bytes live in the store (`actors/store/store.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

ImageRef = str
"""Where an image is: `sha256:<hex digest>` (in the store) or a file path (a data set's own image)."""


@dataclass(frozen=True, slots=True)
class Scores:
    """A judge's verdict on one image, each in [0, 10]."""

    semantics: float
    quality: float
    reason: str = ""
    spread: float = 0.0
    """Standard deviation of `mean` over repeats, or over an ensemble's members; 0 for a single answer."""

    @property
    def mean(self) -> float:
        """The judge's one number: mean of semantics and quality, in [0, 10]."""
        return (self.semantics + self.quality) / 2


@dataclass(frozen=True, slots=True)
class Task:
    """One recorded attempt at a step, which the critic has to judge and to correct."""

    id: str
    instruction: str
    """What the step has to show (`origin_prompt`)."""
    prompt: str
    """What the generator was told in this attempt (`rewritten_prompt`)."""
    before: ImageRef | None
    """The image that was edited; None for a text-to-image step (the critic sees a white canvas)."""
    after: ImageRef
    """The image that the attempt made."""
    is_success: bool
    """The true verdict on `after`."""
    scores: Scores
    """The judge's scores of `after`: the baseline of every step-wise reward."""


@dataclass(frozen=True, slots=True)
class Response:
    """What the policy said: tokens with the log-probabilities they were drawn with."""

    prompt_token_ids: tuple[int, ...]
    """The prompt as the model saw it, image placeholders expanded."""
    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    """One per token of `token_ids`, after temperature and banned tokens (`rollout_logprobs`)."""
    policy_version: int
    """The version that drew the oldest token."""
    is_truncated: bool = False
    """The answer hit the length limit before its end-of-turn token."""


@dataclass(frozen=True, slots=True)
class Critique:
    """A parsed answer of the critic."""

    is_success: bool
    refine_prompt: str
    thought: str = ""


@dataclass(frozen=True, slots=True)
class Reward:
    """Named terms, each already on its own scale, and their weighted sum."""

    terms: Mapping[str, float]
    total: float


class Stage(StrEnum):
    """Where a sample, a story or a trajectory can fail, in the order of their journeys."""

    WORKER = "worker"
    """The process that carried the group died, again and again."""
    PLAN = "plan"
    SAMPLE = "sample"
    GENERATE = "generate"
    JUDGE = "judge"
    CRITIQUE = "critique"
    EVIDENCE = "evidence"
    """What a reward needs beside the judge's scores; the error names which."""
    REWARD = "reward"


SAMPLE_STAGES = tuple(stage for stage in Stage if stage not in (Stage.PLAN, Stage.CRITIQUE))
"""Where a sample of training can fail: what metrics and tables count by."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a sample has no reward, a try no image, or a trajectory no end."""

    stage: Stage
    error: str
    kind: str = "error"
    """A short stable name to count by: the parser's for an answer that is not one, `unsupported` for what the
    generator cannot do, `error` for a call that failed."""
    is_final: bool = False
    """It would end there again: an answer by its content, or what cannot be done. A failed call may be made again."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a reward function may look at."""

    task: Task
    response: Response
    critique: Critique | None
    """None: the answer could not be parsed (`parse_error` says why)."""
    parse_error: str | None = None
    image: ImageRef | None = None
    """The regenerated image; None when the rule did not ask for one."""
    scores: Scores | None = None
    """The judge's scores of `image`; a reward sees both or neither."""
    baseline_scores: Scores | None = None
    """The same judge's scores of the recorded attempt, where the recipe asks for them."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the reward's terms asked for beside the judge, by the names of the recipe's `evidence`."""

    @property
    def baseline(self) -> Scores:
        """Scores of the recorded attempt: the judge's of now where there are any, else the record's."""
        return self.baseline_scores or self.task.scores


@dataclass(frozen=True, slots=True)
class Sample:
    """One response and everything that followed from it. Exactly one of `reward` and `failure` is set."""

    task_id: str
    index: int
    """Which of the group's n responses, from 0."""
    seed: int
    evidence: Evidence | None
    """None when sampling itself failed."""
    reward: Reward | None
    failure: Failure | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time by stage."""

    @property
    def is_valid(self) -> bool:
        return self.failure is None


@dataclass(frozen=True, slots=True)
class Group:
    """All samples of one task in one step; advantages compare within it."""

    task: Task
    samples: tuple[Sample, ...]

    @property
    def valid(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.is_valid]

    @property
    def rewards(self) -> list[float]:
        """Totals of the valid samples, in their order."""
        return [sample.reward.total for sample in self.samples if sample.reward is not None]


class Phase(StrEnum):
    """What a group was rolled out for."""

    TRAIN = "train"
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """Ask for the group of a task. Response i is tried out with `edit_seeds[i % len(edit_seeds)]`.

    One generation seed makes the prompts of a group comparable, several average over the generator's luck.
    """

    task: Task
    n: int
    seed: int
    """Draws the responses."""
    edit_seeds: tuple[int, ...]
    phase: Phase = Phase.TRAIN
    step: int = 0


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How responses are drawn. `temperature=0` is greedy."""

    temperature: float = 1.0
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One prompt for a sampler: chat messages with `{"type": "image"}` parts, and their images in order."""

    messages: tuple[dict, ...]
    images: tuple[ImageRef | None, ...]
    """None stands for a white canvas as large as the other image."""
    params: SamplingParams
    seed: int


@dataclass(frozen=True, slots=True)
class EditRequest:
    """One call of a generator. Equal requests give equal images."""

    image: ImageRef | None
    """The image to edit; None: text-to-image."""
    prompt: str
    seed: int
    references: tuple[ImageRef, ...] = ()
    """Further images to go by, for a generator that takes several."""
    mask: ImageRef | None = None
    """Where to paint (white) and what to leave (black), for a generator that inpaints."""
    size: tuple[int, int] | None = None
    """Width and height in pixels; None: as `image` is, or as the generator likes it."""
    options: tuple[tuple[str, Any], ...] = ()
    """Settings of this call over the recipe's: negative_prompt, guidance_scale, num_inference_steps."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One call of a judge: how well does `after` carry out `instruction` on `before`?"""

    before: ImageRef | None
    after: ImageRef
    instruction: str


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """One call of a judge that sees two attempts side by side."""

    before: ImageRef | None
    old: ImageRef
    """The recorded attempt."""
    new: ImageRef
    """The regenerated one."""
    instruction: str


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One response of a batch, ready to learn from. Its images are loaded inside the policy's ranks."""

    images: tuple[ImageRef | None, ...]
    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    advantages: tuple[float, ...]
    """One per response token."""
    rollout_logprobs: tuple[float, ...]
    """One per response token, as the sampler drew them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one update learns from, sorted by (task, sample)."""

    rows: tuple[TrainingRow, ...]
    temperature: float = 1.0
    """The temperature that the responses were drawn with."""

    @property
    def num_tokens(self) -> int:
        """Response tokens: the denominator of a token-mean loss."""
        return sum(len(row.token_ids) for row in self.rows)


@dataclass(frozen=True, slots=True)
class SftExample:
    """One conversation as tokens, whose answers are to be learned by heart (SFT)."""

    images: tuple[ImageRef | None, ...]
    prompt_token_ids: tuple[int, ...]
    """All before the first answer, image placeholders expanded."""
    token_ids: tuple[int, ...]
    """The rest: answers, and in a conversation of several turns what is said in between."""
    loss_mask: tuple[bool, ...]
    """One per token of `token_ids`: whether it belongs to an answer."""

    @property
    def num_target_tokens(self) -> int:
        """Tokens that the loss is a mean over."""
        return sum(self.loss_mask)
