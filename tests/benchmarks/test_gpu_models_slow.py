"""The models of `benchmarks.gpu` are as large as the published ones; slow because 36 layers take seconds to lay out."""

import pytest

BILLIONS = {"Qwen3-VL-4B": 4.44, "Qwen3-VL-8B": 8.77, "FLUX.2-klein-4B": 3.88, "FLUX.2-klein-9B": 9.08}
"""Parameters by the public checkpoints; of a pipeline, its transformer's."""


@pytest.mark.slow
@pytest.mark.parametrize("name", BILLIONS)
def test_a_random_model_has_the_published_number_of_parameters(name: str):
    from benchmarks.gpu.models import CRITICS, new_critic, new_generator

    model = new_critic(name, "meta")[0] if name in CRITICS else new_generator(name, "meta").transformer
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e9 == pytest.approx(BILLIONS[name], abs=0.01)
