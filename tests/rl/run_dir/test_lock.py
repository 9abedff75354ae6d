"""One process at a time in a folder, whatever became of the last one."""

import errno
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rl.run_dir import lock
from rl.run_dir.lock import locked

HOLDING = "import sys, time; from pathlib import Path; from rl.run_dir.lock import locked\n"
HOLDING += "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"


@pytest.fixture
def elsewhere(monkeypatch):
    """Locks that are made now are held by a process of another machine."""

    def hold(folder: Path) -> Path:
        with monkeypatch.context() as there:
            there.setattr(lock, "_machine", lambda: "another one")
            there.setattr("socket.gethostname", lambda: "node7")
            token = lock._acquire(folder, "")
        return folder / ".lock" / f"{token}.json"

    return hold


def holder(folder: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_is_in_the_folder(tmp_path):
    first = holder(tmp_path / "run")
    try:
        told = rf"run is in use by process {first.pid} on \S+ since 20.* choose another folder \(run_dir=\.\.\.\)"
        with pytest.raises(ValueError, match=told), locked(tmp_path / "run"):
            pass
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    finally:
        first.kill()
        first.wait()


def test_a_killed_process_holds_nothing_even_before_it_is_waited_for(tmp_path):
    first = holder(tmp_path)
    first.kill()
    deadline = time.monotonic() + 5
    while "Z" not in Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2]:
        assert time.monotonic() < deadline
    with locked(tmp_path):
        assert len(list(tmp_path.glob(lock.TAKEN_OVER))) == 1
    first.wait()
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_another_process_has_now_holds_nothing(tmp_path, monkeypatch):
    with monkeypatch.context() as then:
        then.setattr(lock, "_start_of", lambda pid: "long ago")
        lock._acquire(tmp_path, "")
    with locked(tmp_path):
        pass


def test_a_heart_that_beats_on_another_machine_is_waited_for_and_seen(tmp_path, elsewhere, monkeypatch, capsys):
    file = elsewhere(tmp_path)
    monkeypatch.setattr(lock, "_BEAT_S", 0.01)
    threading.Timer(0.1, os.utime, [file]).start()
    with pytest.raises(ValueError, match=r"in use by process \d+ on node7 since"), locked(tmp_path):
        pass
    assert re.search(r"is held by process \d+ on node7 .*; watching for 120 s\n", capsys.readouterr().err)


def test_a_silent_heart_on_another_machine_is_taken_over(tmp_path, elsewhere, monkeypatch):
    file = elsewhere(tmp_path)
    monkeypatch.setattr(lock, "_BEAT_S", 0.01)
    monkeypatch.setattr(lock, "_SILENT_S", 0.1)
    with locked(tmp_path):
        assert not file.exists()
    file = elsewhere(tmp_path)
    os.utime(file, (time.time() - 3600,) * 2)
    monkeypatch.setattr(lock, "_SILENT_S", 120.0)
    with locked(tmp_path):  # at once
        pass


def test_a_torn_lock_goes_by_its_time(tmp_path):
    (tmp_path / ".lock").mkdir()
    (tmp_path / ".lock" / "x.json").write_text("")
    os.utime(tmp_path / ".lock" / "x.json", (1, 1))
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    "said",
    [
        "[]",
        "[" * 100_000,
        '{"host": 1}',
        '{"host": "h", "pid": "x", "since": 0, "machine": "m", "started": ""}',
        '{"host": "h", "pid": -1, "since": 0, "machine": "m", "started": ""}',
        '{"host": "h", "pid": 1e30, "since": 0, "machine": "m", "started": ""}',
        '{"host": "h", "pid": 7, "since": 1e300, "machine": "m", "started": ""}',
    ],
)
def test_a_lock_that_says_nonsense_goes_by_its_time(tmp_path, said):
    (tmp_path / ".lock").mkdir()
    (tmp_path / ".lock" / "x.json").write_text(said.replace('"m"', json.dumps(lock._machine())))
    held = lock.holder_of(tmp_path)
    assert held is not None
    assert str(held[0]) == "a process that its lock does not name: the file there is damaged"
    os.utime(tmp_path / ".lock" / "x.json", (1, 1))
    with locked(tmp_path):
        pass


def test_a_disk_without_room_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    def full(path, *_, **__):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left") as error:
        locked(tmp_path).__enter__()
    assert str(error.value.filename).startswith(f"{tmp_path}/.lock-")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_no_folder_is_named_and_nothing_is_left(tmp_path):
    (tmp_path / ".lock").touch()
    with pytest.raises(ValueError, match=rf"{tmp_path}/\.lock is no folder; if no process is in it, remove"):
        locked(tmp_path).__enter__()
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").symlink_to(".lock")
    with pytest.raises(ValueError, match=r"\.lock is no folder"):
        locked(tmp_path).__enter__()
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock" / "of_somebody").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"cannot be locked; if no process is in it, remove .*\.lock"):
        locked(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def _enter(folder: str, entered, inside, num_inside) -> None:
    with inside:
        pass  # all at once
    try:
        with locked(Path(folder)):
            with num_inside.get_lock():
                num_inside.value += 1
                assert num_inside.value == 1
            entered.put(os.getpid())
            time.sleep(1.0)
            num_inside.value -= 1
    except ValueError:
        entered.put(0)


@pytest.mark.slow
def test_of_many_that_take_over_a_dead_lock_one_gets_in(tmp_path):
    """Slow: many processes, many times."""
    first = holder(tmp_path)
    first.kill()
    first.wait()
    context = multiprocessing.get_context("fork")
    entered, inside, num_inside = context.Queue(), context.Lock(), context.Value("i", 0)
    with inside:
        processes = [context.Process(target=_enter, args=(tmp_path, entered, inside, num_inside)) for _ in range(8)]
        for process in processes:
            process.start()
    answers = [entered.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert sum(answer > 0 for answer in answers) == 1


def test_a_holder_whose_lock_is_taken_is_interrupted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "_BEAT_S", 0.01)

    @locked(tmp_path)
    def work():
        (tmp_path / ".lock").rename(tmp_path / ".lock-x")
        time.sleep(10)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever an earlier test has left
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)
    assert "was taken or removed; ending" in capsys.readouterr().err


def test_a_forked_child_does_not_release(tmp_path):
    with locked(tmp_path):
        if (pid := os.fork()) == 0:
            try:
                raise SystemExit
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        (file,) = (tmp_path / ".lock").iterdir()
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".lock").exists()


def test_a_folder_in_which_nothing_was_written_goes_again(tmp_path):
    with pytest.raises(ValueError, match="a bad recipe"), locked(tmp_path / "runs" / "mine"):
        raise ValueError("a bad recipe")
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "runs" / "mine"):
        (tmp_path / "runs" / "mine" / "recipe.yaml").touch()
    assert [path.name for path in (tmp_path / "runs" / "mine").iterdir()] == ["recipe.yaml"]


def test_a_lock_that_is_moved_while_its_names_are_read_is_held_by_nobody(tmp_path, monkeypatch):
    scandir = os.scandir

    def moved(path):
        os.rename(path, tmp_path / "moved")
        return scandir(path)

    with locked(tmp_path / "run"):
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(os, "scandir", moved)
            assert lock.holder_of(tmp_path / "run") is None
        os.rename(tmp_path / "moved", tmp_path / "run" / lock.LOCK)
