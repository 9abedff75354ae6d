"""What a run's page asks for: itself, the run's state and curves, its newest groups and their images."""

import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rl.inspection
from actors.store.place import is_bucket
from actors.web.loopback import Reply
from rl.recipe.yaml import Plain, read_yaml
from rl.tracking.charts import charts_of, family_of
from rl.tracking.course import Course, families, glance
from rl.watch.newest import Newest
from rl.watch.pictures import picture
from rl.watch.state import About, state_of

_HERE = Path(__file__).parent
_FILES = {
    "": (_HERE / "page.html", "text/html"),
    "icon.svg": (_HERE / "icon.svg", "image/svg+xml"),
    "page.css": (_HERE / "page.css", "text/css"),
    "page.js": (_HERE / "page.js", "text/javascript"),
    "charts.js": (_HERE / "charts.js", "text/javascript"),
    "groups.js": (_HERE / "groups.js", "text/javascript"),
    "elements.js": (Path(rl.inspection.__file__).parent / "elements.js", "text/javascript"),
}


class Site:
    """Answers a page's requests about one run. Safe for threads."""

    def __init__(self, run_dir: Path, store: Path | str | None = None):
        """`store` is where the images are, if not where the recipe says. Raises ValueError for no run's folder."""
        self._run_dir = run_dir
        self._about = about_run(run_dir, store)
        self._lock = threading.Lock()
        self._course, self._partial = Course(run_dir), glance(run_dir)
        self._newest = Newest(run_dir)
        if self._partial is not None:
            threading.Thread(target=self._read_all, name="metrics", daemon=True).start()

    def answer(self, path: str, query: Mapping[str, str]) -> Reply | None:
        """Answer a request; None: there is no such thing."""
        if path in _FILES:
            file, kind = _FILES[path]
            return Reply(file.read_bytes(), f"{kind}; charset=utf-8")
        if path.startswith("image/"):
            found = picture(self._newest.images, path.removeprefix("image/"), self._about.store)
            return None if found is None else Reply(*found, is_fixed=True)
        with self._lock:
            if path == "data":
                return _json(self._data(query.get("since", "")))
            if path == "family":
                return _json(family_of(self._read(), query.get("area", "")))
            if path == "groups":
                return _json({"version": self._newest.version, "groups": self._newest.read()})
        return None

    def _data(self, since: str) -> dict[str, Any]:
        """Return all that the page shows but groups and further curves; the curves only if they have changed."""
        course = self._read()
        version = f"{course.version}{'' if self._partial is None else 'p'}"
        state = state_of(self._run_dir, self._about, course, is_partial=self._partial is not None)
        data = {"version": version, "groups_version": self._newest.version, "state": state}
        if version == since:
            return data
        areas = {area: len(names) for area, names in families(course.columns).items()}
        return data | {"charts": charts_of(course), "areas": areas}

    def _read(self) -> Course:
        if self._partial is not None:
            return self._partial
        self._course.read_on()
        return self._course

    def _read_all(self) -> None:
        """Read a long run's metrics beside the first answers, which do with a part of them."""
        self._course.read_on()
        with self._lock:
            self._partial = None


def about_run(run_dir: Path, store: Path | str | None = None) -> About:
    """Return what a run's recipe says of it. Raises ValueError for a folder that holds no run."""
    path = run_dir / "recipe.yaml"
    if not path.is_file():
        raise ValueError(f"{run_dir} is not the folder of a run: it has no recipe.yaml")
    said = {key: one.value if isinstance(one, Plain) else one for key, one in read_yaml(path, "recipe").items()}
    num_steps, kept = said.get("num_steps"), said.get("store")
    if store is None and isinstance(kept, str) and kept:
        store = kept if is_bucket(kept) else Path(kept).expanduser()
    return About(
        name=run_dir.resolve().name,
        num_steps=num_steps if isinstance(num_steps, int) and num_steps > 0 else None,
        num_gpus=_num_gpus(path) if "rollout" in said else None,
        store=store,
    )


def _num_gpus(recipe: Path) -> float | None:
    """Return the GPUs of an RL run; None where its recipe is another version's, which is no reason to show nothing."""
    from rl.recipe.reader import load_recipe
    from rl.tracking.service_metrics import num_gpus

    try:
        return num_gpus(load_recipe(recipe, []))
    except (ValueError, OSError):
        return None


def _json(value: object) -> Reply:
    text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    return Reply(text.encode(), "application/json")


def _finite(value: object) -> object:
    """Return the value with None for NaN and infinity, which JSON in a browser lacks."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
