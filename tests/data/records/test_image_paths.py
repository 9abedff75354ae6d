"""Where images are: prefixes, the image root and what would lead out of it, the white canvas."""

import os
import shutil

import pytest

from data.errors import RecordError
from data.records.image_paths import _LOOKS_BEFORE_LISTING, ImageResolver, ImageRules, parse_prefixes
from tests.support.record_files import save_image


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "deep").mkdir(parents=True)
    save_image(tmp_path / "root" / "deep" / "x.png")
    save_image(tmp_path / "outside.png")
    return tmp_path / "root"


def found(places, path):
    """Return where a path leads, or the kind of the error, which names the field."""
    try:
        return places.find(path, "images[0]")
    except RecordError as error:
        return error.kind if "field images[0]" in str(error) else str(error)


def test_a_relative_path_starts_at_the_files_folder_or_at_the_root(root):
    assert found(ImageResolver(root), "deep/x.png") == str(root / "deep/x.png")
    assert found(ImageResolver(root / "deep", ImageRules(root=root)), "deep/x.png") == str(root / "deep/x.png")
    assert found(ImageResolver(root, ImageRules(folder=root / "deep")), "x.png") == str(root / "deep/x.png")


@pytest.mark.parametrize(
    "path", ["../outside.png", "deep/../../outside.png", "link.png", "way/outside.png", "/etc/passwd"]
)
@pytest.mark.parametrize("num_looks", [1, 2 * _LOOKS_BEFORE_LISTING])
def test_nothing_leads_out_of_the_image_root(root, path, num_looks):
    (root / "link.png").symlink_to(root.parent / "outside.png")
    (root / "way").symlink_to(root.parent)
    fenced, free = ImageResolver(root, ImageRules(root=root)), ImageResolver(root)
    for _ in range(num_looks):  # folders are listed on the way
        assert found(fenced, path) == "image_outside"
        assert os.path.isabs(found(free, path))


def test_a_link_inside_the_root_is_fine_and_a_root_may_be_a_link(root):
    (root / "link.png").symlink_to(root / "deep" / "x.png")
    (root.parent / "root_link").symlink_to(root)
    places = ImageResolver(root, ImageRules(root=root.parent / "root_link"))
    assert found(places, "link.png") == found(places, "deep/x.png") == str(root / "deep/x.png")
    assert found(places, str(root / "deep/x.png")) == str(root / "deep/x.png")


@pytest.mark.parametrize(
    "path",
    ["", "none.png", "deep", "deep/x.png/", "deep/x.png/y", "a\0b", "\ud800.png", "n" * 5000, "loop", "/dev/zero"],
)
def test_what_cannot_be_an_image_is_missing(root, path):
    (root / "loop").symlink_to(root / "loop")
    assert found(ImageResolver(root), path) == "image_missing"


def test_a_path_is_a_text(root):
    assert found(ImageResolver(root), 3) == found(ImageResolver(root), None) == "type"


def test_a_prefix_is_replaced_at_whole_folders(root):
    rules = ImageRules(root=root, prefixes=parse_prefixes(["/theirs/data=deep", f"/other={root}/deep/"]))
    places = ImageResolver(root, rules)
    assert found(places, "/theirs/data/x.png") == str(root / "deep/x.png")
    assert found(places, "/other/x.png") == str(root / "deep/x.png")
    assert found(places, "/theirs/database/x.png") == "image_outside"
    with pytest.raises(ValueError, match="'/a'; expected old=new"):
        parse_prefixes(["/a"])


@pytest.mark.parametrize("address", ["https://host/x.png", "data:image/png;base64,aGk=", "s3://bucket/x.png"])
def test_an_address_is_no_path_unless_a_prefix_makes_it_one(root, address):
    with pytest.raises(RecordError, match=r"field images\[0\] is '.*'; fetch the image and name its file"):
        ImageResolver(root).find(address, "images[0]")
    assert found(ImageResolver(root), address) == "image_remote"
    rules = ImageRules(prefixes=parse_prefixes(["https://host=deep"]))
    assert found(ImageResolver(root, rules), "https://host/x.png") == str(root / "deep/x.png")


def test_the_declared_path_of_a_white_canvas_is_no_file(root):
    places = ImageResolver(root, ImageRules(white_canvas="white.png"))
    assert found(places, "/their/white.png") is None
    assert found(places, "white.png") is None
    assert found(places, "snowwhite.png") == "image_missing"
    assert places.num_canvases == 2
    assert found(ImageResolver(root), "white.png") == "image_missing"


def test_a_listed_folder_sees_what_comes_later(root):
    places = ImageResolver(root)
    for _ in range(_LOOKS_BEFORE_LISTING + 1):
        assert found(places, "deep/x.png") == str(root / "deep/x.png")
    assert found(places, "deep/y.png") == "image_missing"
    shutil.copy(root / "deep/x.png", root / "deep/y.png")
    assert found(places, "deep/y.png") == str(root / "deep/y.png")


def test_what_is_kept_of_folders_is_bounded(root, monkeypatch):
    monkeypatch.setattr("data.records.image_paths._MOST_NAMES", 5)
    monkeypatch.setattr("data.records.image_paths._MOST_FOLDERS", 3)
    for number in range(8):
        (root / f"f{number}").mkdir()
        for name in range(number):
            save_image(root / f"f{number}" / f"{name}.png")
    places = ImageResolver(root)
    for _ in range(_LOOKS_BEFORE_LISTING + 2):
        for number in range(1, 8):
            assert found(places, f"f{number}/0.png") == str(root / f"f{number}/0.png")
            assert len(places._known.folders) <= 3
            assert sum(len(folder.names or ()) for folder in places._known.folders.values()) <= 5
