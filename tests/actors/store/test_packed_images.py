"""Images in an archive in place of their folder: the same names, bytes and digests, wherever an image is read."""

import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from PIL import Image

from actors.store import packed_images
from actors.store.packed_images import find_packed, open_image_file, pack_images
from actors.store.store import Store
from data.check.images import inspect_image
from data.check.page import _picture
from data.errors import RecordError
from data.records.image_paths import ImageResolver, ImageRules
from tests.support.record_files import save_image

SHAPES = Path(__file__).resolve().parents[3] / "recipes/shapes/tasks"


@pytest.fixture
def folder(tmp_path):
    """A folder `images` of two pictures, packed and gone."""
    images = tmp_path / "set" / "images"
    for name in ("3f/a.png", "b.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(images / name)
    pack_images(images, images.with_name("images.zip"))
    shutil.move(images, tmp_path / "unpacked")
    return images


def test_a_packed_image_has_the_name_bytes_and_digest_that_it_had(folder, tmp_path):
    store, plain = Store(tmp_path / "store"), tmp_path / "unpacked/3f/a.png"
    path = ImageResolver(folder.parent, ImageRules(root=folder.parent)).find("images/3f/a.png", "after")
    assert path == str(folder / "3f/a.png")
    with open_image_file(path) as file:
        assert file.read() == plain.read_bytes()
    assert store.digest(path) == store.digest(str(plain))
    assert store.has_image(path)
    assert store.get_image(path).tobytes() == store.get_image(str(plain)).tobytes()
    assert store.png_bytes(path) == store.png_bytes(str(plain))
    assert inspect_image(path) == inspect_image(str(plain))
    assert _picture(path).source == _picture(str(plain)).source


def test_a_folder_that_is_there_comes_first(folder, tmp_path):
    (folder / "3f").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(folder / "3f/a.png")
    store = Store(tmp_path / "store")
    assert store.get_image(str(folder / "3f/a.png")).size == (9, 9)
    assert store.get_image(str(folder / "b.png")).size != (9, 9)


@pytest.mark.parametrize("name", ["images/none.png", "images/3f", "images", "none/b.png", "images/b.png/c.png"])
def test_what_is_not_in_the_archive_is_missing(folder, tmp_path, name):
    store, path = Store(tmp_path / "store"), folder.parent / name
    assert find_packed(path) is None
    assert not store.has_image(str(path))
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        store.get_image(str(path))
    with pytest.raises(RecordError, match="there is no image at"):
        ImageResolver(folder.parent).find(name, "after")


def test_an_archive_outside_the_image_root_is_outside(folder):
    moved = folder.parent.parent / "elsewhere.zip"
    folder.with_name("images.zip").rename(moved)
    folder.with_name("images.zip").symlink_to(moved)
    assert ImageResolver(folder.parent).find("images/b.png", "after") == str(folder / "b.png")
    with pytest.raises(RecordError, match=r"leads out of the image root to .*elsewhere\.zip"):
        ImageResolver(folder.parent, ImageRules(root=folder.parent)).find("images/b.png", "after")


def test_a_damaged_archive_is_named(folder, tmp_path):
    archive = folder.with_name("images.zip")
    whole = archive.read_bytes()
    archive.write_bytes(whole.replace(b"IDAT", b"ODAT"))
    with pytest.raises(OSError, match=r"images/b\.png cannot be read from .*images\.zip: Bad CRC-32"):
        Store(tmp_path / "store").get_image(str(folder / "b.png"))
    assert "cannot be decoded" in str(inspect_image(str(folder / "b.png")).fault)
    archive.write_bytes(whole[:-40])
    with pytest.raises(RecordError, match=r"there is no image at .*b\.png, and .*images\.zip cannot be read"):
        ImageResolver(folder.parent).find("images/b.png", "after")


def test_an_image_that_unpacks_to_far_too_much_is_refused(folder, monkeypatch):
    with zipfile.ZipFile(folder.with_name("images.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/b.png", bytes(100_000))
    monkeypatch.setattr(packed_images, "MAX_BYTES", 50_000)
    with pytest.raises(OSError, match="has more than 50,000 bytes"):
        open_image_file(folder / "b.png")


def test_an_archive_that_is_replaced_is_read_anew(folder, tmp_path):
    store, path = Store(tmp_path / "store"), str(folder / "b.png")
    old = store.digest(path)
    save_image(tmp_path / "unpacked/b.png", size=(20, 10))
    shutil.copytree(tmp_path / "unpacked", tmp_path / "again/images")
    pack_images(tmp_path / "again/images", tmp_path / "new.zip")
    os.replace(tmp_path / "new.zip", folder.with_name("images.zip"))
    assert store.digest(path) != old
    assert store.get_image(path).size == (20, 10)


def test_equal_folders_are_packed_to_equal_bytes_and_unzip_to_what_they_were(folder, tmp_path):
    again = tmp_path / "again" / "images"
    shutil.copytree(tmp_path / "unpacked", again)
    os.utime(again / "b.png", (0, 0))
    pack_images(again, again.with_name("images.zip"))
    assert again.with_name("images.zip").read_bytes() == folder.with_name("images.zip").read_bytes()
    shutil.unpack_archive(folder.with_name("images.zip"), folder.parent)
    assert (folder / "3f/a.png").read_bytes() == (again / "3f/a.png").read_bytes()


def _read_all(path):
    names = [name for name in zipfile.ZipFile(path).namelist() for _ in range(20)]
    with ThreadPoolExecutor(4) as threads:
        return set(threads.map(lambda name: len(open_image_file(path.parent / name).read()), names))


def test_threads_and_forked_processes_may_share_an_archive(folder, tmp_path):
    archive = folder.with_name("images.zip")
    expected = _read_all(archive)  # it is open now, and stays open in the children
    with get_context("fork").Pool(2) as pool:
        assert pool.map(_read_all, [archive] * 4) == [expected] * 4


def test_the_shapes_tasks_are_a_few_files(tmp_path):
    assert sorted(path.name for path in SHAPES.iterdir()) == [
        "card.json",
        "card.md",
        "heldout.jsonl",
        "images.zip",
        "train.jsonl",
    ]
    # An image is named by the SHA-256 of its file: nothing was changed by packing.
    store = Store(tmp_path)
    names = zipfile.ZipFile(SHAPES / "images.zip").namelist()
    assert len(names) == 1975
    assert all(store.digest(str(SHAPES / name)) == Path(name).stem for name in names)
