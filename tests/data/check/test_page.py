"""`interleave data show`: a page of records that stands alone and runs nothing that a record says."""

import json
from html.parser import HTMLParser

import pytest

from data.check.page import sample_records, write_page
from data.errors import RecordError
from data.formats.reader import open_records
from rl.cli.main import main
from tests.support.record_files import critic_record, planner_record, rl_record, save_png_header, write_lines

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Elements(HTMLParser):
    """Every element of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def page_of(path, **settings):
    return Elements(write_page(path, **settings).read_text(encoding="utf-8"))


def test_a_page_shows_rl_records_with_their_images(tmp_path):
    records = [rl_record(1, rewritten_prompt="a ruby box", origin_image_path="x.png"), rl_record(2, is_success=True)]
    page = page_of(write_lines(tmp_path / "a.jsonl", records))
    assert [image["src"][:22] for image in page.of("img")] == ["data:image/png;base64,"] * 3
    for text in (
        "2 of 2 rl records",
        "a red box number 1",
        "a ruby box",
        "semantics 3",
        "quality 8.5",
        "white canvas",
        "a.jsonl:2",
    ):
        assert text in page.text


def test_a_page_shows_conversations_and_plans(tmp_path):
    page = page_of(write_lines(tmp_path / "c.jsonl", [critic_record(7)]))
    for text in ("is it a red box number 7?", "I look", "a ruby box 7", "white canvas, 64 x 64", "failed"):
        assert text in page.text
    page = page_of(write_lines(tmp_path / "p.jsonl", [planner_record(7)]))
    for text in ("a story of a day, number 7", "You plan.", "a blue sky 7", "It shines.", "2 steps"):
        assert text in page.text


def test_what_a_record_says_is_text_and_never_markup(tmp_path):
    (tmp_path / "a<b>").mkdir()
    records = [
        rl_record(origin_prompt=ATTACK, rewritten_prompt=ATTACK, id=ATTACK),
        rl_record(edited_image_path=ATTACK),
        {**rl_record(), ATTACK: 1, "evaluation": ATTACK},
        f'{{"{ATTACK}',
    ]
    path = write_lines(tmp_path / "a<b>" / "a.jsonl", records)
    page = page_of(path)
    assert page.of("script") == []
    assert all(set(image) <= {"src", "alt", "class"} and image["src"].startswith("data:") for image in page.of("img"))
    assert page.text.count(ATTACK) >= 3
    assert any("default-src 'none'" in str(meta.get("content")) for meta in page.of("meta"))


def test_bad_records_are_shown_with_what_is_wrong(tmp_path):
    save_png_header(tmp_path / "huge.png", 100_000, 100_000)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    records = [
        rl_record(1, edited_image_path="none.png"),
        rl_record(2, edited_image_path="huge.png"),
        rl_record(3, edited_image_path="cut.png"),
        "{",
        rl_record(4, origin_prompt="half \ud800"),
    ]
    page = page_of(write_lines(tmp_path / "a.jsonl", records))
    for text in (
        "there is no image at",
        "cannot be decoded",
        "not JSON",
        "half a character",
        '"origin_prompt": "a red box number 1"',
    ):
        assert text in page.text
    assert page.of("img") == []


def test_records_are_drawn_by_the_seed_with_equal_chances(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [rl_record(number) for number in range(10)])
    counts = [0] * 11
    for seed in range(600):
        chosen, num_records = sample_records(open_records(path), 3, seed)
        numbers = [raw.number for raw in chosen]
        assert numbers == sorted(set(numbers))
        assert (len(numbers), num_records) == (3, 10)
        for number in numbers:
            counts[number] += 1
    assert all(120 < count < 240 for count in counts[1:]), counts
    assert [raw.number for raw in sample_records(open_records(path), 0, 0)[0]] == list(range(1, 11))
    assert sample_records(open_records(path), 3, 5) == sample_records(open_records(path), 3, 5)


def test_the_command_writes_beside_the_file_or_where_it_is_told(tmp_path, capsys):
    path = write_lines(tmp_path / "a.jsonl", [rl_record(number) for number in range(9)])
    assert main(["data", "show", str(path), "--limit", "4"]) == 0
    assert "4 of 9 rl records, drawn with seed 0" in (tmp_path / "a.html").read_text()
    assert main(["data", "show", str(path), "--out", str(tmp_path / "new" / "b.html")]) == 0
    assert capsys.readouterr().out.endswith(f"page  {tmp_path}/new/b.html\n")
    assert main(["data", "show", str(path), "--limit", "-1"]) == 2
    with pytest.raises(RecordError, match="show no kind"):
        write_page(write_lines(tmp_path / "b.jsonl", [json.dumps({"a": 1})]))
