"""A checkpoint is data: what else is pickled in it is not run."""

import pickle
import random

import numpy as np
import pytest
import torch

from actors.policy.checkpoint_reading import tensors_alone


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_what_a_run_saves_is_read(tmp_path):
    file = tmp_path / "extra.pt"
    state = {"cpu": torch.get_rng_state(), "numpy": np.random.get_state(), "random": random.getstate()}
    torch.save({"rng": state, "lr_scheduler": {"last_epoch": 3, "lr_lambdas": [None]}}, file)
    with tensors_alone():
        read = torch.load(file, weights_only=False)  # as verl asks
    assert read["lr_scheduler"]["last_epoch"] == 3
    np.random.set_state(read["rng"]["numpy"])
    random.setstate(read["rng"]["random"])


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    file, mark = tmp_path / "model.pt", tmp_path / "ran"
    torch.save({"weight": torch.ones(2), "more": Harmful(mark)}, file)
    with tensors_alone(), pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(file, weights_only=False)
    assert not mark.exists()
    torch.load(file, weights_only=False)["more"].close()  # elsewhere it is torch's own again
    assert mark.exists()
