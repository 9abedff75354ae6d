"""The text of each token by itself, as a checkpoint's tokenizer has it."""

from collections.abc import Callable

from rollout.types.arrays import TokenIds


def token_texts(model: str) -> Callable[[TokenIds], list[str]]:
    """Return what splits an answer into its tokens' texts; special tokens are empty, as in `Response.text`.

    `model` is a folder or a hub id. A letter that is spread over several tokens is lost: only places are looked for.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def split(token_ids: TokenIds) -> list[str]:
        texts: list[str] = tokenizer.batch_decode([[token] for token in token_ids.tolist()], skip_special_tokens=True)
        return texts

    return split
