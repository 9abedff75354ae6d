"""verl's FSDP2 engine, fed with groups: what rows of one prompt have in common is computed once.

Micro-batches hold whole groups where they fit. Each becomes one sequence (`shared_prefix.Layout`), whose images are
those of one row a group, and whose output layer sees response positions alone (`response_logprobs.Targets`). Without
`policy.shared_prefix` a micro-batch is what verl makes of it: packed or padded rows, and logits of every token.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from types import MethodType
from typing import Any

import torch
from tensordict import TensorDict
from transformers import AttentionInterface
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id
from verl.utils.model import extract_multi_modal_inputs
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.engine.utils import postprocess_batch_func

from actors.policy.frozen_tower import FrozenTower
from actors.policy.groups import Group, micro_batches
from actors.policy.response_logprobs import Targets
from actors.policy.shared_prefix import NAME, Layout, shared_prefix_attention

Inputs = dict[str, object]
"""Arguments of a model, or of what reads its output."""


class PolicyEngine(FSDPEngineWithLMHead):
    """Computes the rows of a rank, and one more: the last row of its data is padding, for ranks with less to do."""

    _kernel = ""
    """Of `shared_prefix.Layout`; empty: rows are computed as verl does."""
    _tower: FrozenTower | None = None

    def share_prefixes(self, kernel: str) -> None:
        """Compute the prompt of a group once from now on, its attention by `kernel`."""
        self._kernel = kernel
        AttentionInterface.register(NAME, shared_prefix_attention)
        model = self._plain_model()
        text_config = type(model.config.get_text_config())
        for module in model.modules():
            if isinstance(getattr(module, "config", None), text_config):
                module.config._attn_implementation = NAME
        model.forward = MethodType(_respond, model)

    def freeze_vision(self, tower: FrozenTower) -> None:
        """Leave vision tower and projector as they are; `tower` remembers what they made."""
        visual = self._plain_model().model.visual
        visual.requires_grad_(False)
        tower.attach(visual)
        self._tower = tower

    def keep_activations(self, share: float) -> None:
        """Take gradient checkpointing off a share of the text layers, which then keep what others compute again."""
        layers = self._text_layers()
        for layer in layers[: round(share * len(layers))]:
            layer.gradient_checkpointing = False

    def compile_layers(self) -> None:
        """Compile the text layers; their attention, whose layout is another in each call, stays as it is."""
        for layer in self._text_layers():
            layer.compile(dynamic=True)

    def _text_layers(self) -> Sequence[torch.nn.Module]:
        layers: Sequence[torch.nn.Module] = self._plain_model().get_decoder().layers
        return layers

    def _plain_model(self) -> Any:
        """Return the model without what peft puts around it."""
        return getattr(self.module, "get_base_model", lambda: self.module)()

    def is_mp_src_rank_with_outputs(self) -> bool:
        """Whether a rank has outputs: ranks that share a sequence all have the same."""
        return True

    def forward_backward_batch(
        self, data: TensorDict, loss_function: Callable[..., object], forward_only: bool = False
    ) -> object:
        """Compute all micro-batches; return verl's model outputs (by row), losses and metrics (by micro-batch)."""
        num_tokens = data["loss_mask"].sum().to(get_device_id())
        torch.distributed.all_reduce(num_tokens, group=self.get_data_parallel_group())
        tu.assign_non_tensor(data, batch_num_tokens=num_tokens.item(), dp_size=self.get_data_parallel_size())
        chosen, padding = self._micro_batches(data), len(data) - 1
        outputs: list[dict[str, object]] = []
        for number, rows in enumerate(chosen):
            is_last = number == len(chosen) - 1
            synchronised = nullcontext() if forward_only else self._gradient_sync_context(is_last_micro_batch=is_last)
            micro_batch = tu.index_select_tensor_dict(data, rows)
            if self._tower is not None:
                self._tower.micro_batch = (tu.get_non_tensor_data(data, "mini_batch", default=0), number)
            with torch.set_grad_enabled(not forward_only), synchronised:
                loss, output = self.forward_step(micro_batch, loss_function=loss_function, forward_only=forward_only)
                if not forward_only:
                    loss.backward()
            if not forward_only or rows == [padding]:
                output["model_output"] = {}
            outputs.append(output)
        if forward_only:  # verl wants an answer for each row
            outputs.append(
                {"model_output": {"log_probs": _nothing_predicted(data["input_ids"].offsets()[-2:], outputs)}}
            )
        return postprocess_batch_func(outputs, [*(rows for rows in chosen if rows != [padding]), [padding]], data)

    def _micro_batches(self, data: TensorDict) -> list[list[int]]:
        """Return the rows of each micro-batch, as many on each rank: FSDP gathers at each, so that ranks would hang.

        Where other ranks have more to compute, this one computes the padding row.
        """
        sizes = [data[name].offsets().diff().tolist() for name in ("prompts", "responses")]
        padding = len(data) - 1
        groups: dict[int, list[int]] = {}
        for row, group in enumerate(data["group"].tolist()[:padding]):
            groups.setdefault(group, []).append(row)
        found = micro_batches(
            [Group(tuple(rows), sizes[0][rows[0]], tuple(sizes[1][row] for row in rows)) for rows in groups.values()],
            data["max_token_len_per_gpu"] * self.ulysses_sequence_parallel_size,
        )
        chosen = [[row for group in batch for row in group.rows] for batch in found]
        number = torch.tensor(len(chosen), device=get_device_id())
        torch.distributed.all_reduce(number, op=torch.distributed.ReduceOp.MAX, group=self.get_data_parallel_group())
        return chosen + [[padding]] * (int(number) - len(chosen))

    def prepare_model_inputs(self, micro_batch: TensorDict) -> tuple[Inputs, Inputs]:
        """Return what the model is called with: one sequence of groups, or what verl packs or pads."""
        if not self._kernel:
            inputs: tuple[Inputs, Inputs] = super().prepare_model_inputs(micro_batch)
            return inputs
        tokens, positions = micro_batch["input_ids"], micro_batch["position_ids"].values()
        starts = tokens.offsets().tolist()
        prompts, responses = (micro_batch[name].offsets().diff().tolist() for name in ("prompts", "responses"))
        groups: list[tuple[int, list[int]]] = []
        firsts, kept = list[int](), list[int]()
        ids = micro_batch["group"].tolist()
        for row, group in enumerate(ids):
            is_first = row == 0 or group != ids[row - 1]
            if is_first:
                groups.append((prompts[row], []))
                firsts.append(row)
            groups[-1][1].append(responses[row])
            kept += range(starts[row] if is_first else starts[row] + prompts[row], starts[row + 1])
        num_parts = self.ulysses_sequence_parallel_size
        if num_more := -len(kept) % num_parts:  # a sequence is cut into equal parts: some tokens once more, for nobody
            kept += kept[-1:] * num_more
            groups.append((num_more, []))
        index = torch.tensor(kept, device=tokens.device)
        layout = Layout(groups, tokens.device, self._kernel)
        targets = Targets(
            layout.predicting,
            micro_batch["responses"].values(),
            tu.get_non_tensor_data(micro_batch, "temperature", default=1.0),
            has_entropy=tu.get_non_tensor_data(micro_batch, "calculate_entropy", default=False),
            num_parts=num_parts,
        )
        images = tu.get(micro_batch, "multi_modal_inputs")
        return {
            "input_ids": tokens.values()[index].unsqueeze(0),
            "attention_mask": None,
            # (4, 1, tokens) with M-RoPE, else (1, tokens)
            "position_ids": positions[..., index].unsqueeze(-2),
            "layout": layout,
            "targets": targets,
            **extract_multi_modal_inputs([images[row] for row in firsts]),
        }, {}

    def prepare_model_outputs(
        self, output: Any, output_args: Inputs, micro_batch: TensorDict, logits_processor_func: object
    ) -> dict[str, torch.Tensor]:
        """Return jagged (row, token) tensors as verl does, 0 where nobody asked: a place predicts the next token."""
        if not self._kernel:
            outputs: dict[str, torch.Tensor] = super().prepare_model_outputs(
                output, output_args, micro_batch, logits_processor_func
            )
            return outputs
        borders = micro_batch["input_ids"].offsets()
        sizes = micro_batch["responses"].offsets().diff()
        # A row's last `size` places but one: place k of all responses, moved to where its row ends.
        moves = borders[1:] - 1 - micro_batch["responses"].offsets()[1:]
        places = torch.repeat_interleave(moves, sizes)
        places = places + torch.arange(len(places), device=places.device)
        total = int(borders[-1])
        return {
            name: torch.nested.nested_tensor_from_jagged(values.new_zeros(total).index_copy(0, places, values), borders)
            for name, values in output.items()
        }


def _nothing_predicted(borders: torch.Tensor, outputs: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """Return log-probabilities, all 0, of the row between `borders` (2,), with the dtype and device of the others."""
    found = [output["model_output"]["log_probs"].values() for output in outputs if output["model_output"]]
    values = (found[0] if found else torch.zeros(0)).new_zeros(int(borders[1] - borders[0]))
    return torch.nested.nested_tensor_from_jagged(values, (borders - borders[0]).to(values.device))


def _respond(
    self: torch.nn.Module, input_ids: torch.Tensor, *, layout: Layout, targets: Targets, **inputs: object
) -> dict[str, torch.Tensor]:
    """A model's forward: log-probabilities of the targets in place of logits (everything on one rank's device)."""
    given = {name: value for name, value in inputs.items() if value is not None}
    hidden = self.model(input_ids=input_ids, layout=layout, **given)[0].squeeze(0)
    return targets.ask(self.lm_head, hidden)


def register_engine() -> None:
    """Make verl's workers build this engine, on CPUs as well."""
    for device in ("cpu", "cuda"):
        EngineRegistry._engines["language_model"]["fsdp2"][device] = PolicyEngine
