"""What is staged is what was saved at that moment, and nothing is lost silently."""

import threading
from collections import OrderedDict

import pytest
import torch

from actors.policy.staged_files import Writer, captured_files, make_stager, write_file


def test_staged_files_hold_what_was_there_when_they_were_saved(tmp_path):
    weight = torch.ones(4)
    state = OrderedDict(half=weight[:2], weight=weight)
    moments, settings = {"step": torch.tensor(3.0)}, {"lr": 0.1, "betas": (0.9, 0.99)}
    optimizer = {"state": {0: moments}, "param_groups": [settings]}
    with captured_files(make_stager()) as files:
        torch.save(state, str(tmp_path / "model.pt"))
        torch.save(optimizer, str(tmp_path / "optim.pt"))
    weight.zero_()
    moments["step"] += 1
    settings["lr"] = 0.2
    assert list(tmp_path.iterdir()) == []
    ended = []
    writer = Writer(files, write_file, ended.append)
    assert writer.error is None
    writer.start()
    writer.check_ended()
    assert (writer.error, ended, files) == ("", [""], [])
    model, optim = (torch.load(tmp_path / name, weights_only=True) for name in ("model.pt", "optim.pt"))
    assert model["weight"].tolist() == [1.0] * 4
    assert model["half"].untyped_storage().data_ptr() == model["weight"].untyped_storage().data_ptr()
    assert optim["state"][0]["step"] == 3
    assert optim["param_groups"] == [{"lr": 0.1, "betas": (0.9, 0.99)}]


def test_outside_of_staging_torch_saves_as_ever(tmp_path):
    save = torch.save
    with pytest.raises(KeyError), captured_files(make_stager()):
        raise KeyError("verl fails")
    assert torch.save is save


def test_an_error_ends_the_writing_and_is_kept(tmp_path):
    def write(path, content):
        raise OSError(28, "No space left on device", path)

    ended = []
    writer = Writer([("a.pt", 1), ("b.pt", 2)], write, ended.append)
    writer.start()
    writer.check_ended()
    assert writer.error == "OSError: [Errno 28] No space left on device: 'a.pt'"
    assert ended == [writer.error]


def test_a_second_writer_is_refused_while_one_writes():
    let = threading.Event()
    writer = Writer([("a.pt", 1)], lambda path, content: let.wait(), lambda error: None)
    writer.start()
    with pytest.raises(RuntimeError, match="is being written already"):
        writer.check_ended(0.05)
    let.set()
    writer.check_ended()


def test_a_file_is_written_where_it_is_to_be(tmp_path):
    write_file(str(tmp_path / "a.pt"), {"a": torch.ones(1)})
    assert torch.load(tmp_path / "a.pt", weights_only=True)["a"].item() == 1
    with pytest.raises(RuntimeError, match="does not exist"):
        write_file(str(tmp_path / "gone" / "a.pt"), 1)
