"""How fast records are checked and opened: `python -m benchmarks.data_check [--records 1000000] [--images 10000]`.

Writes a synthetic file of RL records (about 500 bytes each, some bad, over folders of small images), and prints for
`interleave data check` and for opening it as training does (first time, and again with its index) seconds, records a
second (of wall time, and of CPU time, which other programs on the machine do not change) and peak memory.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.ending import run_main

_WORDS = [
    "the",
    "red",
    "box",
    "stands",
    "left",
    "of",
    "a",
    "tall",
    "blue",
    "lamp",
    "while",
    "its",
    "long",
    "shadow",
    "falls",
    "onto",
    "the",
    "wooden",
    "floor",
]
_IMAGES_A_FOLDER = 100
_OPEN = """
import sys, time
from pathlib import Path
from data.table import open_tasks
start = time.monotonic()
tasks = open_tasks(Path(sys.argv[1]))
labels = tasks.labels.sum()
opened = time.monotonic()
first = [tasks[place] for place in range(0, len(tasks), len(tasks) // 384 + 1)]
print(f"  {len(tasks):,} tasks, {labels:,} successes after {opened - start:.2f} s; "
      f"{len(first)} drawn in {1000 * (time.monotonic() - opened):.0f} ms")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=10_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="data-check-") as folder:
        path = Path(folder) / "critic_rl.jsonl"
        start = time.monotonic()
        write_records(path, chosen.records, chosen.images)
        size = path.stat().st_size / 2**20
        seconds = time.monotonic() - start
        print(f"{chosen.records:,} records, {size:.0f} MiB, {chosen.images:,} images, made in {seconds:.0f} s")
        interleave = str(Path(sys.executable).with_name("interleave"))
        _timed("data check", [interleave, "data", "check", str(path)], chosen.records, expected=0)
        _timed("first opening", [sys.executable, "-c", _OPEN, str(path)], chosen.records, expected=0)
        _timed("next opening", [sys.executable, "-c", _OPEN, str(path)], chosen.records, expected=0)


def write_records(path: Path, num_records: int, num_images: int) -> None:
    """Write a file of RL records and the images that they name."""
    from PIL import Image

    rng = random.Random(0)
    names = [f"images/{number // _IMAGES_A_FOLDER:05d}/{number:08d}.png" for number in range(num_images)]
    for name in names[::_IMAGES_A_FOLDER]:
        (path.parent / name).parent.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(path.parent / names[0])
    data = (path.parent / names[0]).read_bytes()
    for name in names[1:]:
        (path.parent / name).write_bytes(data)
    with path.open("w", encoding="utf-8") as file:
        for number in range(num_records):
            is_success = rng.random() < 0.3
            record = {
                "id": f"task-{number:08d}",
                "origin_prompt": " ".join(rng.choices(_WORDS, k=16)),
                "rewritten_prompt": " ".join(rng.choices(_WORDS, k=32)),
                "origin_image_path": None if rng.random() < 0.2 else rng.choice(names),
                "edited_image_path": rng.choice(names),
                "evaluation": {
                    "success": is_success,
                    "semantics": round(rng.uniform(6, 10) if is_success else rng.uniform(0, 7), 2),
                    "quality": round(rng.uniform(3, 10), 2),
                },
            }
            file.write(json.dumps(record) + "\n")


def _timed(what: str, command: list[str], num_records: int, *, expected: int) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = _peak_while_running(child)
    output = child.communicate()[0]
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode != expected:
        sys.exit(f"{what} ended with {child.returncode}:\n{output}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{what}: {seconds:.1f} s, {num_records / seconds:,.0f} records/s; "
        f"CPU {cpu:.1f} s, {num_records / cpu:,.0f} records/s; peak {peak / 2**20:.0f} MiB"
    )
    print("\n".join(f"  {line.strip()}" for line in output.splitlines()[:1]))


def _peak_while_running(child: subprocess.Popen[str]) -> int:
    """Return the most bytes a child held; the kernel's own high-water mark, read until the child ends."""
    peak = 0
    while child.poll() is None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except OSError:
            break
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]) * 1024)
        time.sleep(0.05)
    return peak


if __name__ == "__main__":
    run_main(main)
