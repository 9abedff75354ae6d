"""SFT as anyone would write it with transformers and torch alone: what ours is held against."""

from typing import Any

from actors.store.store import Store, load_images

Turns = tuple[list[dict[str, Any]], tuple[str | None, ...]]
"""Chat messages and their images."""


def plain_batch(processor: Any, store: Store, conversations: list[Turns]) -> dict[str, Any]:
    """Return padded inputs and labels; labels are found in the tokens, between the marks of an assistant's turn."""
    import torch

    # One by one: a batch with and without images is more than the processor takes.
    encoded = [_encode(processor, store, *conversation) for conversation in conversations]
    length = max(len(one["input_ids"]) for one in encoded)
    ids = torch.full((len(encoded), length), processor.tokenizer.pad_token_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    start = processor.tokenizer("<|im_start|>assistant\n")["input_ids"]
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    for row, one in enumerate(encoded):
        tokens = one["input_ids"].tolist()
        ids[row, : len(tokens)], mask[row, : len(tokens)] = one["input_ids"], 1
        for place in range(len(tokens)):
            if tokens[place : place + len(start)] == start:
                answer = place + len(start)
                labels[row, answer : tokens.index(end, answer) + 1] = 1
    labels = torch.where(labels == 1, ids, labels)
    pixels = [one for one in encoded if "pixel_values" in one]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "mm_token_type_ids": (ids == processor.image_token_id).int(),
        **{key: torch.cat([one[key] for one in pixels]) for key in ("pixel_values", "image_grid_thw") if pixels},
    }


def _encode(processor: Any, store: Store, messages: list[dict[str, Any]], images: tuple[str | None, ...]) -> Any:
    text = processor.apply_chat_template(messages, tokenize=False)
    loaded = load_images(store, images) if images else None
    output = processor(text=[text], images=loaded, return_tensors="pt")
    return {key: value[0] if key == "input_ids" else value for key, value in output.items()}


def plain_losses(model: Any, batches: list[dict[str, Any]], *, lr: float) -> list[float]:
    """Train `model` on each batch; return the losses before the steps."""
    import torch

    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    losses = []
    for batch in batches:
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses
