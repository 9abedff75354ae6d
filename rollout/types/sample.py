"""A task, and what becomes of it in training: response, scores, evidence, reward, sample, group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rollout.text.critique import Critique
from rollout.types.arrays import HasArrays, TokenIds, TokenValues, as_token_ids, as_token_values

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


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Response(HasArrays):
    """What the policy said: tokens with the log-probabilities they were drawn with."""

    prompt_token_ids: TokenIds
    """The prompt as the model saw it, image placeholders expanded; one array for the responses of a group."""
    token_ids: TokenIds
    text: str
    logprobs: TokenValues
    """One per token of `token_ids`, after temperature and banned tokens (`rollout_logprobs`)."""
    policy_version: int
    """The version that drew the oldest token."""
    is_truncated: bool
    """The answer hit the length limit before its end-of-turn token."""

    def __init__(
        self,
        prompt_token_ids: Sequence[int] | TokenIds,
        token_ids: Sequence[int] | TokenIds,
        text: str,
        logprobs: Sequence[float] | TokenValues,
        policy_version: int,
        is_truncated: bool = False,
    ):
        self._set(
            prompt_token_ids=as_token_ids(prompt_token_ids),
            token_ids=as_token_ids(token_ids),
            text=text,
            logprobs=as_token_values(logprobs),
            policy_version=policy_version,
            is_truncated=is_truncated,
        )


@dataclass(frozen=True, slots=True)
class Reward:
    """Named terms, each already on its own scale, and their weighted sum."""

    terms: Mapping[str, float]
    total: float


class Stage(StrEnum):
    """Where an attempt can fail."""

    WORKER = "worker"
    """The process that carried the group died, again and again."""
    PLAN = "plan"
    SAMPLE = "sample"
    GENERATE = "generate"
    JUDGE = "judge"
    CRITIQUE = "critique"
    """The critic's answer, where it is not the policy's own."""
    EVIDENCE = "evidence"
    """What a reward needs beside the judge's scores; the error names which."""
    REWARD = "reward"


SAMPLE_STAGES = tuple(stage for stage in Stage if stage not in (Stage.PLAN, Stage.CRITIQUE))
"""Where a sample of training can fail: what metrics and tables count by."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended a sample, an attempt or a trajectory: a status, never a score, and never the policy's fault."""

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
    step: int = 0
    """The step that it was begun for."""

    @property
    def valid(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.is_valid]

    @property
    def rewards(self) -> list[float]:
        """Totals of the valid samples, in their order."""
        return [sample.reward.total for sample in self.samples if sample.reward is not None]
