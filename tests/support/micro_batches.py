"""Micro-batches of plain numbers, as the engine hands them to a loss."""

import torch


def jagged(lists: list[list[float]], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    from verl.utils import tensordict_utils as tu

    return tu.nested_tensor_from_tensor_list([torch.tensor(values, dtype=dtype) for values in lists])


def micro_batch(advantages: list[list[float]], old: list[list[float]] | None, masks: list[list[float]], total: int):
    """Return a micro-batch whose prompts have one token, as the engine hands it to the loss."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu

    tokens = [[3] * len(values) for values in advantages]
    data = {
        "prompts": jagged([[1]] * len(tokens), torch.long),
        "responses": jagged(tokens, torch.long),
        "response_mask": jagged(masks),
        "advantages": jagged(advantages),
        "rollout_log_probs": jagged([[-1.0] * len(values) for values in advantages]),
    }
    if old is not None:
        data["old_log_probs"] = jagged(old)
    batch = TensorDict(data, batch_size=[len(tokens)])
    num_rows = sum(any(mask) for mask in masks)
    return tu.assign_non_tensor(batch, dp_size=1, batch_num_tokens=total, global_batch_size=num_rows)


def model_output(logprobs: list[list[float]]) -> dict[str, torch.Tensor]:
    """Place response log-probabilities where the engine has them: one place earlier, in the whole sequence."""
    whole = jagged([[*values, 0.0] for values in logprobs])
    return {"log_probs": whole.requires_grad_(), "entropy": whole.detach() * 0 + 2.0}
