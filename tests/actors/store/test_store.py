"""The store: content names, whole files only, many writers at once."""

import hashlib
import multiprocessing
import os
import pickle

import pytest
from PIL import Image

from actors.store.store import Store, call_key, load_images


def picture(colour, size=(8, 6)):
    return Image.new("RGB", size, colour)


def test_equal_pixels_have_one_reference_and_come_back(tmp_path):
    store = Store(tmp_path)
    first, again, other = (store.put_image(picture(colour)) for colour in ("red", "red", "blue"))
    assert first == again != other
    assert store.get_image(first).getpixel((3, 3)) == (255, 0, 0)
    assert store.digest(first) == first.removeprefix("sha256:")
    assert hashlib.sha256(store.png_bytes(first)).hexdigest() == store.digest(first)


def test_a_file_path_is_a_reference_too(tmp_path):
    path = tmp_path / "mine.jpg"
    picture("green").save(path)
    store = Store(tmp_path / "store")
    assert store.get_image(str(path)).size == (8, 6)
    assert store.png_bytes(str(path)).startswith(b"\x89PNG")
    before = store.digest(str(path))
    picture("blue", (20, 20)).save(path)
    assert store.digest(str(path)) != before


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="sha256:0123"):
        Store(tmp_path).get_image("sha256:0123")


def test_no_image_before_is_a_white_canvas_as_large_as_the_other(tmp_path):
    store = Store(tmp_path)
    before, after = load_images(store, (None, store.put_image(picture("red"))))
    assert before.size == after.size
    assert before.getpixel((0, 0)) == (255, 255, 255)


def test_a_relative_root_is_made_absolute_and_survives_pickling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("here")
    assert store.root == tmp_path / "here"
    assert pickle.loads(pickle.dumps(store)).root == store.root


def test_a_call_is_kept_and_an_unknown_one_is_none(tmp_path):
    store = Store(tmp_path)
    key = call_key(prompt="a red box", seed=1)
    assert store.get_call(key) is None
    store.put_call(key, {"image": "sha256:00"})
    assert Store(tmp_path).get_call(key) == {"image": "sha256:00"}
    assert key == call_key(seed=1, prompt="a red box") != call_key(seed=2, prompt="a red box")


def test_a_crash_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def crash(handle):
        raise OSError("disk full")

    store = Store(tmp_path)
    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        store.put_call("ab" * 32, {"x": 1})
    assert store.get_call("ab" * 32) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def _write_all(root):
    store = Store(root)
    for number in range(40):
        store.put_image(picture((number, 0, 0)))
        store.put_call(call_key(number=number), {"number": number, "filler": "x" * 10_000})


@pytest.mark.slow
def test_many_processes_may_write_the_same_things(tmp_path):
    """Slow: it starts processes of Python."""
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_all, args=(tmp_path,)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    store = Store(tmp_path)
    kept = [store.get_call(call_key(number=number)) or {} for number in range(40)]
    assert [call.get("number") for call in kept] == list(range(40))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 80
    assert not [path for path in files if path.name.startswith(".")]


def test_whether_an_image_is_there_can_be_asked(tmp_path):
    store = Store(tmp_path)
    ref = store.put_image(picture("red"))
    assert store.has_image(ref)
    assert not store.has_image("sha256:0123")
    assert not store.has_image(str(tmp_path / "none.png"))


def test_a_png_is_committed_as_it_is(tmp_path):
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    ref = there.put_image(picture("red"))
    assert here.put_png(there.png_bytes(ref)) == ref
    assert here.png_bytes(ref) == there.png_bytes(ref)


def test_somebody_elses_store_can_be_read(tmp_path, monkeypatch):
    store = Store(tmp_path)
    ref = store.put_image(picture("red"))
    os.utime(store.image_path(ref), (0, 0))

    def forbid(*_):
        raise PermissionError("not the owner")

    monkeypatch.setattr(os, "utime", forbid)
    assert store.get_image(ref).getpixel((0, 0)) == (255, 0, 0)


def test_only_known_formats_are_decoded(tmp_path):
    """Pillow asks a program of the machine to draw an EPS."""
    path = tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(path, format="EPS")
    with pytest.raises(OSError, match=r"x\.png cannot be decoded \(expected PNG, .* or TIFF, found PostScript data\)"):
        Store(tmp_path / "store").get_image(str(path))
    Image.new("RGB", (8, 8)).save(path, format="TIFF")
    assert Store(tmp_path / "store").get_image(str(path)).size == (8, 8)
