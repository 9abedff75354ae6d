"""What the policy learns from: rows of a batch, and examples of SFT."""

from dataclasses import dataclass

from rollout.types.sample import ImageRef


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One response of a batch, ready to learn from. Its images are loaded beside the policy's ranks."""

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
