"""Pages held to their bars: `python -m benchmarks.pages [PAGE.html ...] [--steps 10000] [--modules DIR]`.

A long run is made up (185 metrics a step), `interleave watch` follows it, and headless Chromium opens its page: charts
and newest groups are there within 2 s, every control is reached and operated by keyboard, and axe-core finds no
violation of WCAG 2.2 A or AA at 1280 and 390 pixels, light and dark. Pages that are given, as report.html, inspect.html
or a story's index.html, are held to the same but for the seconds.

Needs chromium, node, and a folder with `npm install axe-core puppeteer-core` (`--modules`), none of which comes with
this package. Ends with exit code 1 where a bar is missed, 2 where one of them is not there.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from actors.web.loopback import LoopbackServer
from benchmarks.ending import run_main
from benchmarks.pages.long_run import make_run
from rl.watch.site import Site

LONGEST_S = 2.0
_SCRIPT = Path(__file__).with_name("check.cjs")
_TIMEOUT_S = 3600.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, help="HTML files")
    parser.add_argument("--steps", type=int, default=10_000, help="of the run that is made up; 0: none is")
    parser.add_argument("--modules", type=Path, default=Path("node_modules"), help="default: node_modules")
    parser.add_argument("--screenshots", type=Path, help="folder for a picture of each")
    chosen = parser.parse_args(arguments)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if missing := missing_tools(browser, chosen.modules):
        print(f"benchmarks.pages: missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    if chosen.screenshots:
        chosen.screenshots.mkdir(parents=True, exist_ok=True)
    pages: list[dict[str, Any]] = [
        {"name": f"{path.resolve().parent.name}-{path.stem}", "url": path.resolve().as_uri()} for path in chosen.pages
    ]
    with tempfile.TemporaryDirectory(prefix="pages-") as folder:
        if chosen.steps:
            pages.insert(0, watched(Path(folder) / "run", chosen.steps))
        asked = {"browser": browser, "pages": pages, "screenshots": chosen.screenshots and str(chosen.screenshots)}
        missed = [line for told in checked(asked, chosen.modules) for line in report(told)]
    print("\n".join(missed) if missed else "every bar is kept")
    return 1 if missed else 0


def missing_tools(browser: str | None, modules: Path) -> list[str]:
    """Return what the check needs and is not there."""
    found = {
        "chromium": browser is not None,
        "node": shutil.which("node") is not None,
        **{f"{name} in {modules}": (modules / name).is_dir() for name in ("axe-core", "puppeteer-core")},
    }
    return [name for name, is_there in found.items() if not is_there]


def watched(run_dir: Path, num_steps: int) -> dict[str, Any]:
    """Make a run up and serve its page from now on; return what to open."""
    make_run(run_dir, num_steps)
    began, spent = time.perf_counter(), time.process_time()
    server = LoopbackServer(Site(run_dir).answer)
    print(f"server up after {time.perf_counter() - began:.2f} s ({time.process_time() - spent:.2f} s of CPU)")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return {"name": "watch", "url": server.url, "ready": ".group .sample"}


def checked(asked: dict[str, Any], modules: Path) -> Iterator[dict[str, Any]]:
    """Yield what the browser's script found, as it finds it."""
    environment = os.environ | {"NODE_PATH": str(modules.resolve())}
    command = ["node", str(_SCRIPT), json.dumps(asked)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        yield {"check": "script", "failed": [f"the browser's script ended with code {process.returncode}"]}


def report(told: dict[str, Any]) -> list[str]:
    """Print one finding in a line; return the bars that it misses."""
    if told["check"] == "opening":
        print(
            f"{told['name']}: opens in {told['seconds']:.2f} s ({told['cpu_seconds']:.2f} s of CPU in the page)",
            flush=True,
        )
        return [] if told["seconds"] <= LONGEST_S else [f"{told['name']}: took {told['seconds']:.2f} s to open"]
    if told["check"] == "keyboard":
        print(f"{told['name']}: {told['controls']} controls, {len(told['missed'])} not reached by keyboard", flush=True)
        return [f"{told['name']}: keyboard: {what}" for what in (*told["missed"], *told["failed"])]
    if told["check"] == "script":
        return list(told["failed"])
    wide = [f"{told['overflow']} pixels too wide"] if told["overflow"] else []
    found = [*told["violations"], *told["problems"], *wide]
    print(f"{told['name']} at {told['width']} pixels, {told['scheme']}: {len(found)} violations", flush=True)
    return [f"{told['name']} {told['width']} {told['scheme']}: {what}" for what in found]


if __name__ == "__main__":
    run_main(main)
