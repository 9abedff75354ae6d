"""What the policy learns from: rows of a batch, and examples of SFT."""

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.types.arrays import HasArrays, TokenIds, TokenValues, as_token_ids, as_token_values
from rollout.types.sample import ImageRef


@dataclass(frozen=True, slots=True, eq=False, init=False)
class TrainingRow(HasArrays):
    """One response of a batch, ready to learn from. Its images are loaded beside the policy's ranks."""

    images: tuple[ImageRef | None, ...]
    prompt_token_ids: TokenIds
    token_ids: TokenIds
    advantages: TokenValues
    """One per response token."""
    rollout_logprobs: TokenValues
    """One per response token, as the sampler drew them."""
    name: str
    """Says whose response it is, where something is wrong with it."""

    def __init__(
        self,
        images: tuple[ImageRef | None, ...],
        prompt_token_ids: Sequence[int] | TokenIds,
        token_ids: Sequence[int] | TokenIds,
        advantages: Sequence[float] | TokenValues,
        rollout_logprobs: Sequence[float] | TokenValues,
        name: str = "",
    ):
        self._set(
            images=images,
            prompt_token_ids=as_token_ids(prompt_token_ids),
            token_ids=as_token_ids(token_ids),
            advantages=as_token_values(advantages),
            rollout_logprobs=as_token_values(rollout_logprobs),
            name=name,
        )


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


@dataclass(frozen=True, slots=True, eq=False, init=False)
class SftExample(HasArrays):
    """One conversation as tokens, whose answers are to be learned by heart (SFT)."""

    images: tuple[ImageRef | None, ...]
    prompt_token_ids: TokenIds
    """All before the first answer, image placeholders expanded."""
    token_ids: TokenIds
    """The rest: answers, and in a conversation of several turns what is said in between."""
    loss_mask: tuple[bool, ...]
    """One per token of `token_ids`: whether it belongs to an answer."""

    def __init__(
        self,
        images: tuple[ImageRef | None, ...],
        prompt_token_ids: Sequence[int] | TokenIds,
        token_ids: Sequence[int] | TokenIds,
        loss_mask: tuple[bool, ...],
    ):
        self._set(
            images=images,
            prompt_token_ids=as_token_ids(prompt_token_ids),
            token_ids=as_token_ids(token_ids),
            loss_mask=loss_mask,
        )

    @property
    def num_target_tokens(self) -> int:
        """Tokens that the loss is a mean over."""
        return sum(self.loss_mask)
