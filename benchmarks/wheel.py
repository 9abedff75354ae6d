"""A built wheel outside the checkout: `python -m benchmarks.wheel [--extra cpu] [--folder FOLDER]`.

Builds the wheel and installs it, with the lock file that it carries and all dependencies, into an empty environment by
pip alone. There, in another folder, with another HOME and without PYTHONPATH, it trains two steps of the demo's recipe
by its name, tells a story and serves a picture over HTTP. Prints the seconds of each part; exit code 1 where one fails,
or where installing takes longer than ten minutes.
"""

import argparse
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ending import run_main

REPO = Path(__file__).resolve().parents[1]
MOST_INSTALL_S, PATIENCE_S = 600.0, 900.0
LOCK = "rl/requirements.lock"
REQUEST = "Draw a ruby circle at the left, then a navy box at the top"
STEPS = ("num_steps=2", "save_every=2", "evaluation.num_tasks=16", "evaluation.every=0", "tracking.backends=[]")
_LEFT_OUT = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"})


@dataclass(frozen=True)
class Place:
    """A folder that knows nothing of the checkout."""

    folder: Path

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def program(self, name: str) -> str:
        return str(self.folder / "venv" / "bin" / name)

    def environment(self) -> dict[str, str]:
        """Return the variables of a process there: ours without what leads back here."""
        own = {
            "HOME": str(self.folder / "home"),
            "PATH": f"{self.folder / 'venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        }
        return {name: value for name, value in os.environ.items() if name not in _LEFT_OUT} | own

    def run(self, *command: str) -> str:
        """Run a program of the environment there; return what it printed. Raises RuntimeError with its last lines."""
        ended = subprocess.run(
            [self.program(command[0]), *command[1:]],
            cwd=self.work,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with code {ended.returncode}: {ended.stdout[-2000:]}")
        return ended.stdout


def build(out: Path) -> Path:
    """Build the wheel with this environment's setuptools, and return it."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(out)]
    subprocess.run([*command, str(REPO)], check=True)
    return only_wheel(out)


def only_wheel(folder: Path) -> Path:
    """Return the only wheel in a folder."""
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(place: Place, wheel: Path, extra: str) -> None:
    """Install the wheel with the lock file in it, as a user would."""
    lock = place.work / "requirements.lock"
    with zipfile.ZipFile(wheel) as archive:
        lock.write_bytes(archive.read(LOCK))
    place.run("pip", "install", "--quiet", "-c", str(lock), f"{wheel}[{extra}]")


def train(place: Place) -> None:
    place.run("interleave", "train", "shapes_grpo", "run_dir=run", *STEPS)
    left = [name for name in ("report.html", "export/model.safetensors") if not (place.work / "run" / name).is_file()]
    if left:
        raise RuntimeError(f"the run left no {' and no '.join(left)}")


def generate(place: Place) -> None:
    place.run("interleave", "generate", REQUEST, "--recipe", "shapes_story", "--out", "story")
    if not any((place.work / "story").rglob("*.png")):
        raise RuntimeError("the story has no picture")


def serve(place: Place) -> None:
    """Start the service, ask for a picture, and end it as Ctrl-C does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [place.program("interleave"), "serve", "shapes_story", f"service.port={port}"]
    with (place.work / "serve.log").open("wb") as log:
        service = subprocess.Popen(command, cwd=place.work, env=place.environment(), stdout=log, stderr=log)
    try:
        _wait_for_health(port, service)
        body = json.dumps({"prompt": "a red circle at the left", "seed": 7}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/edit", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            image = base64.b64decode(json.load(answer)["edited_image"])
        if not image.startswith(b"\x89PNG"):
            raise RuntimeError("the service's answer is no picture")
        service.send_signal(signal.SIGINT)
        service.wait(30)
    finally:
        service.kill()


def _wait_for_health(port: int, service: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up and service.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(1.0)
    raise RuntimeError("the service did not come up; serve.log in its folder says why")


def timed(name: str, part: Callable[[], object]) -> float:
    """Run a part, print how long it took, and return that in seconds."""
    began = time.monotonic()
    part()
    seconds = time.monotonic() - began
    print(f"{name:10} {seconds:6.1f} s", flush=True)
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wheel", description=__doc__)
    parser.add_argument("--extra", default="cpu", choices=("cpu", "gpu"), help="default: cpu")
    parser.add_argument("--folder", type=Path, help="a new folder, which is kept; default: a temporary one")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="wheel-") as temporary:
        place = Place((chosen.folder or Path(temporary, "place")).absolute())
        for folder in (place.work, place.folder / "home"):
            folder.mkdir(parents=True)
        try:
            timed("build", lambda: build(place.folder))
            timed("venv", lambda: subprocess.run([sys.executable, "-m", "venv", place.folder / "venv"], check=True))
            wheel = only_wheel(place.folder)
            seconds = timed("install", lambda: install(place, wheel, chosen.extra))
            print(place.run("interleave", "--version").strip())
            for part in (train, generate, serve):
                timed(part.__name__, lambda part=part: part(place))
        except (RuntimeError, subprocess.SubprocessError) as error:
            print(error)
            return 1
    print(f"installed in {seconds:.0f} s (bar {MOST_INSTALL_S:g} s); everything else worked")
    return 0 if seconds < MOST_INSTALL_S else 1


if __name__ == "__main__":
    run_main(main)
