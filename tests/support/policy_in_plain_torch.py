"""What the policy computes, by transformers and torch alone: what ours is held against."""

from pathlib import Path

from actors.banned_tokens import banned_tokens
from rollout.types import TrainingRow
from tests.support.stack import LR, Stack


def banned_tokens_of(stack: Stack) -> list[int]:
    from transformers import AutoConfig

    return banned_tokens(AutoConfig.from_pretrained(stack.model))


def load_weights(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def load_model(folder: Path):
    import torch
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)


def response_logprobs(stack: Stack, model, row: TrainingRow, temperature: float):
    """Return log-probabilities (tokens,) by transformers, over what may be sampled."""
    import torch

    pixels = stack.processor.image_processor(
        images=[stack.store.get_image(ref) for ref in row.images if ref], return_tensors="pt"
    )
    ids = torch.tensor([[*row.prompt_token_ids.tolist(), *row.token_ids.tolist()]])
    is_image = (ids == stack.processor.image_token_id).int()
    logits = model(input_ids=ids, mm_token_type_ids=is_image, **pixels).logits[0].clone()
    logits[:, banned_tokens_of(stack)] = -float("inf")
    spoken = (logits / temperature).log_softmax(-1)[len(row.prompt_token_ids) - 1 : -1]
    return spoken.gather(1, torch.tensor(row.token_ids, dtype=torch.long)[:, None])[:, 0]


def reference_logprobs(stack: Stack, model, rows: list[TrainingRow], temperature: float):
    """Return a tensor of log-probabilities (tokens,) for each row."""
    import torch

    model.eval()
    with torch.no_grad():
        return [response_logprobs(stack, model, row, temperature) for row in rows]


def one_step_in_plain_torch(stack: Stack, rows: list[TrainingRow], temperature: float):
    """Return (weights, gradient norm, loss) of one PPO step: the ratio is 1, so nothing is clipped."""
    import torch

    model = load_model(stack.model)
    total = sum(len(row.token_ids) for row in rows)
    loss = torch.zeros(())
    for row in rows:
        logprobs = response_logprobs(stack, model, row, temperature)
        ratio = (logprobs - logprobs.detach()).exp()
        loss = loss - (ratio * torch.tensor(row.advantages)).sum() / total
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0).step()
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}, norm.item(), loss.item()
