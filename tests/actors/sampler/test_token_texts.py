"""The texts of an answer's tokens, by the committed critic's tokenizer."""

from actors.sampler.token_texts import token_texts
from rl.recipe.config import REPO
from rollout.text.critique import format_critique
from rollout.text.success_probability import success_probability
from rollout.types import Critique
from rollout.types.arrays import as_token_ids

CRITIC = str(REPO / "recipes" / "shapes" / "weights" / "critic")


def test_tokens_are_split_so_that_the_verdict_is_found():
    from transformers import AutoTokenizer

    answer = format_critique(Critique(True, "a ruby ball at the summit", "left red circle sees nothing false"))
    token_ids = AutoTokenizer.from_pretrained(CRITIC)(answer + "<|im_end|>").input_ids
    pieces = token_texts(CRITIC)(as_token_ids(token_ids))
    assert "".join(pieces) == answer
    (place,) = (number for number, piece in enumerate(pieces) if "true" in piece)
    logprobs = [-0.5 if number == place else 0.0 for number in range(len(pieces))]
    found = success_probability(pieces, logprobs)
    assert found is not None
    assert 0.6 < found < 0.61
