"""`data check --deep`: broken images, bombs, look-alikes and tokens, with nothing decoded that says it is huge."""

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.check.check import CheckRules, check
from data.check.images import DeepRules, inspect_image
from data.check.near_duplicates import MAX_DISTANCE, Look, LookLog, look_of
from tests.support.record_files import critic_record, report, rl_record, save_image, save_png_header, write_lines
from tests.support.source_tree import REPO


def save_bomb(path, side):
    """Save a whole PNG of side x side white pixels, one bit each: kilobytes on disk."""
    data = Image.new("1", (side, 8), 1)
    data.save(path)
    rows = zlib.compress((b"\0" + b"\xff" * (side // 8)) * side, 9)
    return write_png(path, side, rows)


def write_png(path, side, rows):
    import struct

    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def kind(path):
    fault = inspect_image(str(path)).fault
    return None if fault is None else fault.kind


def test_an_image_of_a_hundred_thousand_squared_is_not_decoded(tmp_path):
    huge = save_png_header(tmp_path / "huge.png", 100_000, 100_000)
    assert huge.stat().st_size < 200
    tracemalloc.start()
    assert kind(huge) == "image_too_large"
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert kind(save_png_header(tmp_path / "wide.png", 40_000_000, 1)) == "image_too_large"
    assert kind(save_png_header(tmp_path / "none.png", 0, 5)) == "image_broken"


def test_a_small_file_that_unpacks_to_a_large_image_is_refused(tmp_path):
    bomb = save_bomb(tmp_path / "bomb.png", 8_000)
    assert bomb.stat().st_size < 20_000
    assert kind(bomb) == "image_too_large"
    fits = save_bomb(tmp_path / "fits.png", 1_000)
    assert inspect_image(str(fits)).size == (1_000, 1_000)
    assert inspect_image(str(fits), 10**5).fault is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"\xff\xd8\xff\xe0" + b"\0" * 50,
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ],
)
def test_what_is_no_image_is_broken(tmp_path, data):
    (tmp_path / "x.png").write_bytes(data)
    assert kind(tmp_path / "x.png") == "image_broken"


def test_an_image_cut_off_or_flipped_is_broken(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    assert kind(tmp_path / "x.png") is None
    (tmp_path / "x.png").write_bytes(data[: len(data) // 2])
    assert kind(tmp_path / "x.png") == "image_broken"
    (tmp_path / "x.png").write_bytes(data[:200] + bytes([data[200] ^ 255]) + data[201:])
    assert kind(tmp_path / "x.png") == "image_broken"
    assert kind(tmp_path / "gone.png") == "image_broken"


def test_bad_images_are_counted_at_the_first_record_that_names_them(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    save_png_header(tmp_path / "huge.png", 100_000, 100_000)
    names = ["x.png", "cut.png", "huge.png", "cut.png"]
    path = write_lines(tmp_path / "a.jsonl", [rl_record(i, edited_image_path=name) for i, name in enumerate(names)])
    summary = check(path, CheckRules(deep=DeepRules()))
    assert summary.bad.counts == {"image_broken": 1, "image_too_large": 1}
    assert summary.bad.examples["image_broken"][0].startswith(f"{path}:2: the image ")
    assert summary.bad.examples["image_too_large"][0].startswith(f"{path}:3: the image ")
    assert summary.deep is not None
    assert (summary.deep.num_images, summary.deep.sizes) == (3, {(16, 16): 1})
    assert check(path, CheckRules()).is_good, "only the deep check opens images"


def test_look_alikes_are_found(tmp_path):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8)).resize((90, 90))
    noise.save(tmp_path / "a.png")
    noise.resize((60, 60)).save(tmp_path / "b.jpg", quality=70)
    noise.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "c.png")
    Image.new("RGB", (50, 50), "white").save(tmp_path / "w.png")
    Image.new("RGB", (60, 60), "white").save(tmp_path / "v.png")
    names = ["a.png", "b.jpg", "c.png", "w.png", "v.png"]
    path = write_lines(tmp_path / "a.jsonl", [rl_record(i, edited_image_path=name) for i, name in enumerate(names)])
    deep = check(path, CheckRules(deep=DeepRules())).deep
    assert (deep.num_same + deep.num_alike, deep.num_flat) == (1, 2)
    [(first, later, _)] = deep.examples
    assert (first.path, later.path, later.number) == (str(tmp_path / "a.png"), str(tmp_path / "b.jpg"), 2)


def test_a_hash_is_of_brightness_from_cell_to_cell():
    ramp = Image.fromarray(np.tile(np.arange(0, 252, 7, dtype=np.uint8), (36, 1)))
    assert look_of(ramp) == Look(2**64 - 1, (128,) * 8)
    assert look_of(ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == Look(0, (128,) * 8)
    assert look_of(Image.new("RGB", (5, 5), "red")) is None


def test_images_that_differ_in_colour_alone_are_no_look_alikes(tmp_path):
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    for name, channel in {"red.png": 0, "blue.png": 2, "red.jpg": 0, "again.png": 2}.items():
        pixels = np.stack([ramp] * 3, axis=-1)
        pixels[:, :, channel] //= 2
        Image.fromarray(pixels).save(tmp_path / name)
    names = ["red.png", "blue.png", "red.jpg", "again.png"]
    path = write_lines(tmp_path / "a.jsonl", [rl_record(i, edited_image_path=name) for i, name in enumerate(names)])
    deep = check(path, CheckRules(deep=DeepRules())).deep
    found = {tuple(image.path.rpartition("/")[2] for image in pair) for *pair, _ in deep.examples}
    assert found == {("red.png", "red.jpg"), ("blue.png", "again.png")}
    assert deep.num_same + deep.num_alike == 2


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 63), max_size=4)), max_size=30))
@settings(max_examples=60)
def test_pairs_are_those_of_comparing_all_with_all(tmp_path_factory, drawn):
    centres = [0x0123456789ABCDEF, 0x0123456789ABCDEE, 0xFFFF00001234FFFF, 0]
    hashes = []
    for centre, flips in drawn:
        value = centres[centre]
        for bit in flips:
            value ^= 1 << bit
        hashes.append(value)
    log = LookLog(tmp_path_factory.getbasetemp() / "looks")
    for offset, value in enumerate(hashes):
        log.add(Look(value), offset)
    alike = log.alike(num_examples=10**6)
    distinct = list(dict.fromkeys(hashes))
    expected = {
        (hashes.index(a), hashes.index(b), (a ^ b).bit_count())
        for i, a in enumerate(distinct)
        for b in distinct[i + 1 :]
        if (a ^ b).bit_count() <= MAX_DISTANCE
    }
    assert alike.num_same == len(hashes) - len(distinct)
    assert {pair for pair in alike.examples if pair[2]} == {(min(a, b), max(a, b), bits) for a, b, bits in expected}
    assert alike.num_pairs == len(expected)


def test_a_crowd_of_one_look_does_not_compare_all_with_all(tmp_path, monkeypatch):
    log = LookLog(tmp_path / "looks")
    for offset in range(3000):
        log.add(Look(5), offset)
        log.add(Look(0xABCD << 48 | offset * 0x9E3779B97F4A7C15 % 2**48), offset + 10_000)
    num_steps = 0
    count = np.bitwise_count

    def watch(values):
        nonlocal num_steps
        num_steps += 1
        return count(values)

    monkeypatch.setattr(np, "bitwise_count", watch)
    assert log.alike().num_same == 2999
    assert num_steps <= 4 * 64


@pytest.mark.slow
def test_tokens_are_those_of_the_models_own_processor(tmp_path):
    """Slow: importing transformers takes seconds."""
    model = str(REPO / "recipes/shapes/weights/critic")
    save_image(tmp_path / "y.png", (64, 64))
    record = critic_record(images=["y.png", "y.png"])
    path = write_lines(tmp_path / "c.jsonl", [record])
    summary = check(path, CheckRules(deep=DeepRules(model=model)))
    from transformers import AutoProcessor  # late: the check has made it importable beside a CPU build of torch

    processor = AutoProcessor.from_pretrained(model)
    text = record["messages"][0]["content"].removeprefix("<image><image>")
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": text}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
    images = [Image.open(tmp_path / "y.png").convert("RGB")] * 2
    whole = processor(text=[chat], images=images)["input_ids"][0]
    tokens = summary.deep.tokens
    assert tokens["prompt"].total + 2 * (tokens["image"].total - 1) == len(whole)
    assert tokens["answer"].total == len(processor.tokenizer(record["messages"][1]["content"])["input_ids"])
    assert "tokens of the image" in report(summary)
    scaled = check(path, CheckRules(deep=DeepRules(model=model, max_pixels=32 * 32))).deep.tokens
    assert scaled["image"].total * 4 == tokens["image"].total
    summary = check(write_lines(tmp_path / "r.jsonl", [rl_record()]), CheckRules(deep=DeepRules(model=model)))
    assert summary.deep.tokens["prompt"].num == 1
    with pytest.raises(ValueError, match="has no loadable tokenizer"):
        check(path, CheckRules(deep=DeepRules(model=str(tmp_path))))


def test_the_report_shows_what_was_seen(tmp_path):
    summary = check(write_lines(tmp_path / "a.jsonl", [rl_record()]), CheckRules(deep=DeepRules()))
    text = " ".join(report(summary).split())
    assert "sizes of images 1 different files 16 x 16 1 100.0 %" in text
