"""What the command line says of files that are not there or cannot be written, and of runs that break."""

import os
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from data.errors import RecordError
from rl.cli import main as cli
from rl.recipe.config import REPO
from rl.run_dir.lock import locked
from tests.support.record_files import critic_record, write_lines

SHAPES = str(REPO / "recipes" / "shapes_story.yaml")


@pytest.mark.parametrize(
    "arguments",
    [
        ["shapes", "requests", "--count", "1", "--out"],
        ["generate", "a cat", "--recipe", SHAPES, "--out"],
        ["eval", "stories", SHAPES, "--num", "1", "--out"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_folder_that_cannot_be_made_is_one_line(arguments, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert cli.main([*arguments, str(tmp_path / "file" / "new" / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("interleave: ")
    assert str(tmp_path / "file") in told
    assert ": Not a directory" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("port", ["99999", "65536", "-1", "abc", "1" * 5000, "٣"])
def test_a_port_that_is_none_is_one_line(port, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["watch", str(tmp_path), "--port", port])
    assert f"argument --port: {port!r}; expected a port from 0 to 65535; see" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["http://127.0.0.1", "127.0.0.1:80", "[::1]", "256.0.0.1", "é..x", "a b", ""])
def test_a_host_that_is_none_is_one_line(host, tmp_path, capsys):
    assert cli.main(["serve", SHAPES, f"service.host={host}"]) == 2
    told = capsys.readouterr().err
    assert "service.host is " in told
    assert "; expected an address or a host's name, like 127.0.0.1, without http:// and without a port\n" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", str(REPO / "recipes" / "shapes_grpo.yaml"), "run_dir={out}"],
        ["serve", SHAPES, "service.port=0"],
        ["generate", "Draw a ruby circle at the left", "--recipe", SHAPES, "--out", "{out}"],
        ["data", "build", str(REPO / "recipes" / "build_shapes.yaml"), "requests.file={requests}", "run_dir={out}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_generator_where_nothing_answers_is_one_line_before_anything_starts(arguments, tmp_path, capsys, monkeypatch):
    def never(*_):
        raise AssertionError("a job was started")

    for module in ("actors.cluster", "rl.launch"):
        monkeypatch.setattr(f"{module}.ray_cluster", never)
    (tmp_path / "requests.txt").write_text("Draw a ruby circle at the left\n")
    places = {"out": tmp_path / "out", "requests": tmp_path / "requests.txt"}
    generator = "generator={kind: service, base_url: 'http://127.0.0.1:9'}"
    given = [part.format(**places) for part in arguments]
    assert cli.main([*given, "~generator", generator, f"store={tmp_path}/store"]) == 2
    told = capsys.readouterr().err
    assert "interleave: generator: cannot ask the service at http://127.0.0.1:9 without a key: unreachable: " in told
    assert told.count("\n") == 1


def test_a_bad_record_is_one_located_line_before_anything_starts(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    good, bad = critic_record(0), critic_record(1, images=["x.png"])
    files = [
        f"data.{name}={write_lines(tmp_path / f'{name}.jsonl', records)}"
        for name, records in (("train", [good, bad]), ("heldout", [good]))
    ]
    run_dir = tmp_path / "run"
    overrides = [*files, f"run_dir={run_dir}", "policy.model=owner/name"]
    assert cli.main(["sft", str(REPO / "recipes/shapes_critic_sft.yaml"), *overrides]) == 2
    told = capsys.readouterr().err
    assert "train.jsonl:2: 2 <image> marks for 1 images" in told
    assert told.count("\n") == 1
    assert not run_dir.exists()


@pytest.mark.parametrize("command", ["train", "sft"])
def test_a_bad_record_that_is_met_later_is_one_line_and_another_error_is_not(command, tmp_path, monkeypatch, capsys):
    async def broken(plan):
        raise plan

    def prepared(error):
        return lambda recipe, **options: error

    modules, prepare, run, recipe = {
        "train": (("rl.prepare", "rl.run"), "prepare", "run", "shapes_grpo.yaml"),
        "sft": (("rl.sft.run",), "prepare_sft", "run_sft", "shapes_critic_sft.yaml"),
    }[command]
    arguments = [command, str(REPO / "recipes" / recipe), f"run_dir={tmp_path / 'run'}"]
    for error in (RecordError("marks", "2 marks", where="a.jsonl:7"), OSError(28, "No space left", "a")):
        for module in modules:
            monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{prepare: prepared(error), run: broken}))
        if isinstance(error, RecordError):
            assert cli.main(arguments) == 1
            assert capsys.readouterr().err == "interleave: the run stopped: a.jsonl:7: 2 marks\n"
        else:
            with pytest.raises(RuntimeError, match="the run broke"):
                cli.main(arguments)


def test_whoever_interrupts_is_told_how_to_go_on_where_that_can_be(monkeypatch, capsys):
    def interrupted(chosen):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_train", interrupted)
    monkeypatch.setattr("rl.cli.ledger._ledger", interrupted)
    assert cli.main(["train", "recipe.yaml"]) == 130
    assert capsys.readouterr().err == "interleave: interrupted; go on with the same command and --resume\n"
    assert cli.main(["ledger", "runs/none"]) == 130
    assert capsys.readouterr().err == "interleave: interrupted\n"


def test_whoever_interrupts_is_told_which_step_is_saved(monkeypatch, tmp_path, capsys):
    def interrupted(chosen):
        chosen.run_dir = tmp_path
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_train", interrupted)
    go_on = "; go on with the same command and --resume"
    for saved in ("", "; no step is saved yet" + go_on, "; step 7 is saved" + go_on):
        if "no step" in saved:
            (tmp_path / "recipe.yaml").touch()
        elif saved:
            (tmp_path / "checkpoints").mkdir()
            (tmp_path / "checkpoints" / "latest").write_text("step_7")
        assert cli.main(["train", "recipe.yaml"]) == 130
        assert capsys.readouterr().err == f"interleave: interrupted{saved}\n"


def test_an_error_without_a_file_keeps_its_traceback(monkeypatch):
    def lost(chosen):
        raise ConnectionResetError(104, "the cluster is gone")

    monkeypatch.setattr("rl.cli.ledger._ledger", lost)
    with pytest.raises(ConnectionResetError):
        cli.main(["ledger", "runs/none"])


@pytest.mark.parametrize(
    ("arguments", "resume", "overrides"),
    [
        (["r.yaml"], False, []),
        (["r.yaml", "--resume"], True, []),
        (["--resume", "r.yaml", "a=1"], True, ["a=1"]),
        (["r.yaml", "--resume", "a=1"], True, ["a=1"]),
        (["r.yaml", "--resume", "auto", "a=1"], "auto", ["a=1"]),
        (["--resume=auto", "r.yaml"], "auto", []),
        (["r.yaml", "a=auto", "--resume", "auto"], "auto", ["a=auto"]),
    ],
)
@pytest.mark.parametrize("command", ["train", "sft", "data build", "learning"])
def test_resume_takes_auto_and_nothing_else_with_it(command, arguments, resume, overrides, monkeypatch):
    seen = []
    module, name = {"data build": ("data", "_build")}.get(command, ("main", f"_{command}"))
    monkeypatch.setattr(f"rl.cli.{module}.{name}", lambda chosen: seen.append(chosen) or 0)
    assert cli.main([*command.split(), *arguments, "--accept-changed", "judge.model"]) == 0
    (chosen,) = seen
    assert (chosen.resume, chosen.overrides, str(chosen.recipe)) == (resume, overrides, "r.yaml")
    assert chosen.accept_changed == ["judge.model"]


def test_a_second_command_in_a_folder_is_refused_in_one_line_whether_it_resumes_or_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rl.prepare", SimpleNamespace(prepare=None))
    monkeypatch.setitem(sys.modules, "rl.run", SimpleNamespace(run=None))
    arguments = ["train", str(REPO / "recipes/shapes_grpo.yaml"), f"run_dir={tmp_path / 'run'}"]
    with locked(tmp_path / "run"):
        for resume in ([], ["--resume"], ["--resume", "auto"]):
            assert cli.main([*arguments, *resume]) == 2
            told = capsys.readouterr().err
            assert told.startswith(f"interleave: {tmp_path / 'run'} is in use by process {os.getpid()} on ")
            assert told.count("\n") == 1


def test_who_interrupts_before_anything_was_started_is_promised_nothing(tmp_path, monkeypatch, capsys):
    def interrupted(recipe, **options):
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "rl.prepare", SimpleNamespace(prepare=interrupted))
    monkeypatch.setitem(sys.modules, "rl.run", SimpleNamespace(run=None))
    arguments = ["train", str(REPO / "recipes/shapes_grpo.yaml"), f"run_dir={tmp_path / 'run'}"]
    assert cli.main(arguments) == 130
    assert capsys.readouterr().err == "interleave: interrupted\n"
    assert not (tmp_path / "run").exists()
