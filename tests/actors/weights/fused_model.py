"""A model laid out as vLLM lays out its own, and shards of it."""

from types import SimpleNamespace

import torch


class FusedModel(torch.nn.Module):
    """Holds q, k and v as one, a padded embedding under two names and a flattened convolution, as vLLM does."""

    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}  # noqa: RUF012

    def __init__(self, rank: int = 0, size: int = 1):
        super().__init__()
        self.model = torch.nn.Module()
        self.model.embed = _sharded(torch.nn.Embedding(8 // size, 4), rank, size)
        start, end = rank * 4, min(6, rank * 4 + 8 // size)
        self.model.embed.shard_indices = SimpleNamespace(org_vocab_start_index=start, org_vocab_end_index=end)
        self.model.attn = torch.nn.Module()
        self.model.attn.qkv_proj = _sharded(torch.nn.Linear(4, 8 // size, bias=False), rank, size)
        self.model.down = _sharded(torch.nn.Linear(6 // size, 4, bias=False), rank, size)
        self.model.patch = torch.nn.Linear(4, 4, bias=False)
        self.lm_head = torch.nn.Module()
        self.lm_head.weight = self.model.embed.weight
        self.lm_head.shard_indices = self.model.embed.shard_indices
        _sharded(self.lm_head, rank, size)
        self.given: list[str] = []

    def load_weights(self, weights):
        rank, size = self.model.embed.tp_rank, self.model.embed.tp_size
        offsets = {"q_proj": 0, "k_proj": 4 // size, "v_proj": 6 // size}
        for name, tensor in weights:
            self.given.append(name)
            part = next((part for part in offsets if part in name), None)
            if part is not None:
                mine = tensor.chunk(size)[rank]
                self.model.attn.qkv_proj.weight[offsets[part] : offsets[part] + len(mine)] = mine
            elif "patch" in name:
                self.model.patch.weight[:] = tensor.flatten(1)
            elif "down" in name:
                self.model.down.weight[:] = tensor.chunk(size, 1)[rank]
            elif "embed" in name:
                shard = self.model.embed.shard_indices
                mine = tensor[shard.org_vocab_start_index : shard.org_vocab_end_index]
                self.model.embed.weight[: len(mine)] = mine


def _sharded(layer: torch.nn.Module, rank: int, size: int) -> torch.nn.Module:
    layer.tp_rank, layer.tp_size = rank, size
    return layer
