"""Whether two texts name the same file or folder, each from the folder in which its command ran."""

from filecmp import cmp
from os.path import realpath
from pathlib import Path

from actors.store.place import is_bucket
from rl.recipe.coerce import Fitting
from rl.recipe.paths import resolve_path
from rollout.text.limits import Tilde, parts_of


def is_same_place(old: object, new: object, was_in: Path | None = None) -> bool:
    """Whether two paths are one place: `old` from `was_in` (None: the working folder), `new` from the working folder.

    >>> is_same_place("runs/../runs/one", "runs/one"), is_same_place("one", "two"), is_same_place(None, "one")
    (True, False, False)
    >>> is_same_place("runs/store", "/away/runs/store", Path("/away"))
    True
    """
    if not (isinstance(old, str) and isinstance(new, str) and old and new):
        return False
    if is_bucket(old) or is_bucket(new):
        return old.rstrip("/") == new.rstrip("/")
    here = Path.cwd()
    before = was_in or here
    return realpath(before / old) == realpath(here / new) or (
        realpath(resolve_path(old, before)) == realpath(resolve_path(new))
    )


def leads_elsewhere(key: str, text: str, was_in: Path) -> bool:
    """Whether a path, said as before, leads from the working folder to another store or file than from `was_in`.

    What is gone from there was moved, and a file of the same content is the same.
    """
    if not text or is_bucket(text):
        return False
    if key == "store":  # a job writes there, so that the checkout's is never meant by a path from elsewhere
        old = was_in / Path(text).expanduser()
        return old.exists() and realpath(old) != realpath(Path(text).expanduser())
    old, new = resolve_path(text, was_in), resolve_path(text)
    return realpath(old) != realpath(new) and old.is_file() and new.is_file() and not cmp(old, new, shallow=False)


def is_same_source(old: object, new: object, was_in: Path | None = None) -> bool:
    """Whether two descriptions, `path@digest`, are of one content in one place."""
    if not (isinstance(old, str) and isinstance(new, str)):
        return False
    (where, _, what), (where_now, mark, what_now) = old.rpartition("@"), new.rpartition("@")
    return bool(mark) and what == what_now and is_same_place(where, where_now, was_in)


def is_path(kind: type, key: str) -> bool:
    """Whether a dotted key of a kind of recipe names a file or a folder."""
    try:
        _, rules, _ = parts_of(Fitting(kind, "").hint_at(key))
    except ValueError:
        return False
    return any(isinstance(rule, Tilde) and not rule.separator for rule in rules)
