"""Cards that a plan can be made for, as their makers describe them."""

import re
from dataclasses import dataclass

from rollout.text.limits import nearest

GIB = 2**30


@dataclass(frozen=True)
class Card:
    """One GPU."""

    name: str
    memory_gib: float
    """What the driver shows, in GiB."""
    tflops: float
    """Dense bfloat16 matrix products, in TFLOP/s."""
    gb_per_s: float
    """Memory bandwidth, in 10^9 bytes a second."""


_CARDS = (
    Card("H100", 79.6, 989, 3350),
    Card("H200", 140.4, 989, 4800),
    Card("H800", 79.6, 989, 3350),
    Card("B200", 179.1, 2250, 8000),
    Card("A100", 80.0, 312, 2039),
    Card("A100-40GB", 40.0, 312, 1555),
    Card("L40S", 45.0, 362, 864),
    Card("L4", 22.5, 121, 300),
    Card("RTX A6000", 48.0, 155, 768),
    Card("RTX 4090", 24.0, 165, 1008),
    Card("RTX 5090", 31.8, 210, 1792),
)
"""From the data sheets (SXM where there are several), without sparsity."""


def card_of(name: str) -> Card:
    """Return a card by its name, in any spelling. Raises ValueError for one that is not known.

    >>> card_of("rtx4090").name, card_of("NVIDIA H100 80GB HBM3").name, card_of("NVIDIA A100-SXM4-40GB").name
    ('RTX 4090', 'H100', 'A100-40GB')
    """
    found = [card for card in _CARDS if _is_named(card.name, name)]
    if not found:
        known = [card.name for card in _CARDS]
        raise ValueError(f"--gpu is {name!r}; known are {', '.join(known)}{nearest(name, known)}")
    best = max(found, key=lambda card: len(card.name))
    small = next(card for card in _CARDS if card.name == "A100-40GB")
    return small if best.name == "A100" and "40gb" in name.lower() else best


def _is_named(card: str, name: str) -> bool:
    """Whether a card's name is in another one as a word, however its parts are joined.

    >>> _is_named("RTX 4090", "geforce rtx-4090"), _is_named("L4", "L40S"), _is_named("H100", "H1000")
    (True, False, False)
    """
    joined = r"[\W_]*".join(map(re.escape, re.findall(r"\w+", card)))
    return re.search(rf"(?<![^\W_]){joined}(?!\d)", name, re.IGNORECASE) is not None
