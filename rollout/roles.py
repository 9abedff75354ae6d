"""The roles around the loop as Protocols, and their errors. Actors and fakes (`tests/support/`) both satisfy them."""

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Protocol

from rollout.types import (
    Batch,
    CompareRequest,
    CriticInput,
    EditRequest,
    Group,
    GroupRequest,
    ImageRef,
    ModelAnswer,
    Request,
    Response,
    SampleRequest,
    ScoreRequest,
    Scores,
    SftExample,
)


class Sampler(Protocol):
    """Draws responses from the newest published policy."""

    async def sample(self, request: SampleRequest) -> Response:
        """Return the response as soon as it is finished, whatever else is in flight. Raises `SamplerError`."""
        ...


class Planner(Protocol):
    """Turns a request into a plan: a model or a function."""

    async def plan(self, request: Request, seed: int, repeat: int = 0) -> ModelAnswer:
        """Return an answer, whose text `rollout.text.plan.parse_plan` reads or refuses; `repeat` counts from 0."""


class Critic(Protocol):
    """Judges an attempt in words and says a better prompt: the policy, a teacher or a function."""

    async def criticise(self, shown: CriticInput, seed: int, repeat: int = 0) -> ModelAnswer:
        """Return an answer, whose text `parse_critique` reads or refuses; `repeat` counts independent ones from 0."""
        ...


class SamplerError(RuntimeError):
    """The request cannot be answered; says why."""


class SamplerUnavailable(SamplerError):
    """This engine cannot answer now, another one might."""


class Generator(Protocol):
    """A frozen image generator."""

    async def edit(self, request: EditRequest) -> ImageRef:
        """Return the new image, committed to the store. Raises `GeneratorError`."""

    async def stats(self) -> dict[str, float]:
        """Return counts of this process since its start, keyed `generator/...`."""


class Judge(Protocol):
    """Scores an image; never guesses."""

    async def score(self, request: ScoreRequest) -> Scores:
        """Return the scores. Raises `JudgeError` when none can be had."""

    async def compare(self, request: CompareRequest) -> tuple[Scores, Scores]:
        """Return the scores of the old and the new attempt, from one look at both. Raises `JudgeError`."""

    async def stats(self) -> dict[str, float]:
        """Return counts of this process since its start, keyed `judge/...`."""


class GroupRollout(Protocol):
    """Carries a task to its group (`rollout.single_step.SingleStep`)."""

    async def roll_out(self, request: GroupRequest) -> Group:
        """Return the group; failed samples are in it, with their stage and error."""

    async def stats(self) -> dict[str, float]:
        """Return counts of this process since its start, keyed `area/name`."""


class GeneratorError(RuntimeError):
    """The generator could not make this image, after its retries."""


class Unsupported(GeneratorError):
    """The generator cannot do what it was asked for: nothing was paid for, and asking again does not help."""


class JudgeError(RuntimeError):
    """The judge gave no usable scores, after its retries."""


class TeacherError(RuntimeError):
    """A teacher gave no answer, after its retries."""


class EvidenceProvider(Protocol):
    """Gathers further evidence that a reward asks for: a second judge, an aesthetic score, OCR."""

    async def observe(self, request: ScoreRequest) -> object:
        """Return what there is to see, JSON-able or `Scores`. Raises `JudgeError`."""

    async def stats(self) -> dict[str, float]:
        """Return counts of this process since its start, keyed `evidence/...`."""


class EvidenceError(RuntimeError):
    """A piece of evidence beside the judge's scores could not be gathered; says which, and why."""


class BudgetSpent(RuntimeError):
    """The run has paid what its recipe allows: no failure of a sample, but the end of the run."""


class Policy(Protocol):
    """The critic being trained."""

    version: int
    """Number of updates done; what samplers are told at a publish."""

    def prepare(self, images: tuple[ImageRef | None, ...]) -> None:
        """Hear which images rows or examples of a coming call will have: they can be made ready meanwhile."""

    async def update(self, batch: Batch) -> dict[str, float]:
        """Do the optimizer steps for one batch and return metrics keyed `policy/...`."""

    async def fit(self, examples: Sequence[SftExample]) -> dict[str, float]:
        """Do one optimizer step of SFT and return metrics keyed `sft/...` and `policy/...`."""

    async def losses(self, examples: Sequence[SftExample]) -> list[float]:
        """Return, for each example, the negative log-likelihood of its answers (nats, summed over tokens)."""

    async def publish(self, samplers: Sampler) -> dict[str, float]:
        """Hand the weights to the samplers and verify it. Raises `PublishError`; returns `publish/...`."""

    async def save(self, folder: Path) -> None:
        """Write a checkpoint to resume from (model, optimizer, schedule)."""

    async def begin_save(self, folder: Path) -> Awaitable[None]:
        """Take a copy of what a checkpoint holds; what is returned, and to be awaited, ends when it is written.

        Other calls may be made meanwhile, but for another save.
        """
        ...

    async def load(self, folder: Path) -> None:
        """Resume from a checkpoint."""

    async def export(self, folder: Path) -> None:
        """Write a Hugging Face checkpoint that transformers and vLLM load as it is."""


class RunStopped(RuntimeError):
    """A run cannot go on. What it learned so far is saved as its recipe says; the message is for its user."""


class OwnCodeError(RunStopped):
    """A function of the user's own that no step can do without failed; says which, with what and where."""


class PublishError(RunStopped):
    """The samplers do not run the policy's weights; says what differs."""


class CheckpointError(RunStopped):
    """What is saved cannot be gone on from, or nothing can be saved; says what is missing."""
