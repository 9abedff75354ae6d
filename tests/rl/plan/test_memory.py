"""Memory by part, where it can be computed by hand."""

from dataclasses import replace

import pytest

from actors.config import GeneratorConfig, LoraConfig, PolicyConfig, SamplerConfig
from rl.plan.cards import GIB, card_of
from rl.plan.known_models import CRITICS, PIPELINES
from rl.plan.memory import generator_memory, policy_memory, sampler_memory
from rl.plan.models import ModelSize, PipelineSize
from rl.plan.tensor_shapes import VISION, tensors_of

MODEL = ModelSize("8B", CRITICS["Qwen3-VL-8B"], "here")
POLICY = PolicyConfig(
    model="Qwen/Qwen3-VL-8B-Instruct",
    num_ranks=4,
    gpus_per_rank=1,
    dtype="bfloat16",
    gradient_checkpointing=True,
    max_tokens_per_micro_batch=16384,
)
H100 = card_of("H100")


def bytes_of(memory):
    return {part.name: part.num_bytes for part in memory.parts}


def policy(card=H100, *, has_reference=False, **changes):
    return policy_memory(replace(POLICY, **changes), MODEL, card, image_tokens=2048, has_reference=has_reference)


def test_a_rank_holds_its_share_of_master_weights_gradients_and_moments():
    total = MODEL.num_parameters
    found = policy()
    parts = bytes_of(found)
    # Every first dimension of an 8B model divides by four, but for norms of 128 and biases of 4,304 and 1,152.
    assert parts["weights"] == pytest.approx(4 * total / 4, rel=1e-6)
    assert parts["weights"] == parts["gradients"] == parts["optimizer"] / 2
    assert "reference" not in parts
    assert bytes_of(policy(has_reference=True))["reference"] == parts["weights"]
    assert [part.name for part in found.parts if part.is_exact] == ["weights", "gradients", "optimizer"]


def test_a_first_dimension_that_does_not_divide_is_rounded_up():
    found = bytes_of(policy(num_ranks=3))
    rows = sum(
        one.count * -(-one.shape[0] // 3) * (one.num_parameters // one.count // one.shape[0]) for one in MODEL.tensors
    )
    assert found["weights"] == 4 * rows > 4 * MODEL.num_parameters / 3


def test_copies_of_the_weights_are_cut_over_their_own_ranks_alone():
    assert bytes_of(policy(num_ranks=8, shard_ranks=4))["weights"] == bytes_of(policy(num_ranks=4))["weights"]


def test_what_is_frozen_has_no_gradients():
    vision = sum(one.num_parameters for one in MODEL.tensors if one.part == VISION)
    found, whole = bytes_of(policy(freeze_vision=True)), bytes_of(policy())
    assert whole["gradients"] - found["gradients"] == pytest.approx(4 * vision / 4, rel=1e-4)
    assert found["weights"] == whole["weights"]
    assert found["activations"] < whole["activations"]


def test_adapters_alone_have_gradients_with_lora():
    rank = 32
    found = bytes_of(policy(lora=LoraConfig(rank=rank), freeze_vision=True))
    adapters = sum(one.count * rank * sum(one.shape) for one in MODEL.tensors if one.is_linear and one.part != VISION)
    assert found["gradients"] == pytest.approx(adapters * 4 / 4)
    assert found["optimizer"] == 2 * found["gradients"]
    assert found["weights"] == pytest.approx((MODEL.num_parameters + adapters) * 4 / 4, rel=1e-6)
    some = bytes_of(policy(lora=LoraConfig(rank=rank, targets=["q_proj"])))
    assert some["gradients"] == 36 * rank * (4096 + 4096) * 4 / 4
    assert "reference" not in bytes_of(policy(has_reference=True, lora=LoraConfig(rank=rank)))


def test_activations_grow_with_the_micro_batch_and_with_what_is_kept():
    base = bytes_of(policy())["activations"]
    assert bytes_of(policy(max_tokens_per_micro_batch=8192))["activations"] == pytest.approx(base / 2, rel=0.2)
    kept = [bytes_of(policy(kept_activations=share))["activations"] for share in (0.0, 0.5, 1.0)]
    assert kept == sorted(kept)
    assert kept[0] == base
    assert kept[1] > 4 * base
    assert bytes_of(policy(shared_prefix=False))["logits"] == 16 * bytes_of(policy())["logits"]


def test_a_model_that_a_card_cannot_hold_does_not_fit():
    assert policy().fits
    assert not policy(num_ranks=1).fits
    assert policy(num_ranks=1).is_hopeless, "four times 35 GB"
    assert not policy(num_ranks=2).is_hopeless
    assert not policy(num_ranks=2).fits, "70 GB and activations"
    assert policy(card=card_of("H200"), num_ranks=2).fits


SAMPLER = SamplerConfig(gpus_per_sampler=1, dtype="bfloat16", max_model_len=8192, max_num_batched_tokens=16384)


def test_the_cache_takes_what_is_left_of_the_engines_share():
    found = sampler_memory(SAMPLER, MODEL, H100)
    parts = bytes_of(found)
    assert parts["weights"] == 2 * MODEL.num_parameters
    assert found.num_bytes == pytest.approx(0.8 * H100.memory_gib * GIB, abs=1)
    tokens = parts["key-value cache"] // (2 * 2 * 36 * 8 * 128)
    assert f"cache of {tokens:,} tokens: {tokens // 8192} of" in found.note
    assert found.fits


def test_tensor_parallel_engines_share_weights_and_cache():
    two = sampler_memory(replace(SAMPLER, gpus_per_sampler=2), MODEL, H100)
    assert bytes_of(two)["weights"] == MODEL.num_parameters
    one = int(sampler_memory(SAMPLER, MODEL, H100).note.split()[2].replace(",", ""))
    assert int(two.note.split()[2].replace(",", "")) > 2 * one


def test_an_engine_without_room_for_a_sequence_does_not_fit():
    found = sampler_memory(SAMPLER, MODEL, card_of("RTX 4090"))
    assert not found.fits
    assert "samplers.gpu_memory_utilization" in found.note


def test_an_engine_on_cpus_has_the_cache_of_its_recipe():
    found = sampler_memory(SamplerConfig(kv_cache_gib=2.0), MODEL, H100)
    assert bytes_of(found)["key-value cache"] == 2 * GIB
    assert found.limit is None


def test_a_generator_holds_its_parts_and_its_batch():
    size = PipelineSize("9B", PIPELINES["FLUX.2-klein-9B"], "here")
    config = GeneratorConfig("flux2-klein", gpus_per_replica=1, dtype="bfloat16", max_batch_size=8)
    found = generator_memory(config, size, H100, image_pixels=2**20)
    assert bytes_of(found)["weights"] == 2 * size.num_parameters
    # 69 GiB were in use (benchmarks/RESULTS.md).
    assert found.num_bytes / GIB == pytest.approx(69, abs=3)
    small = generator_memory(replace(config, max_batch_pixels=2 * 2**20), size, H100, image_pixels=2**20)
    assert bytes_of(small)["activations"] == bytes_of(found)["activations"] / 4
    assert small.note == "batches of 2"


def test_the_tensors_are_all_there():
    assert sum(one.num_parameters for one in tensors_of(MODEL.config)) == MODEL.num_parameters == 8_767_123_696
