"""The service's routes, in this process, with a pool that paints instead of a pipeline."""

import asyncio
import base64
import io
import json
import struct
import threading
import zlib
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from PIL import Image

from actors.metered.retry import CallError, Fault
from actors.store.store import Store
from actors.web.config import ServiceConfig, read_service_key
from actors.web.image_service import ImageService
from actors.web.service import build_app
from rollout.roles import GeneratorError
from tests.support.hostile_images import jpeg_of_scans, noise
from tests.support.image_service import EDIT, KEY, Slow, ask, b64, files_in, pixel, png, service_of, talk
from tests.support.painter import Painter


def test_an_edit_is_answered_as_the_public_systems_clients_expect(tmp_path):
    sent = {**EDIT, "negative_prompt": " ", "guidance_scale": 4.0, "num_inference_steps": 50, "enhance_prompt": False}
    answer = ask(service_of(tmp_path), "POST", "/edit", json=sent).json()
    assert pixel(base64.b64decode(answer.pop("edited_image"))) == (200, 3, 7)
    assert answer.pop("processing_time") >= 0
    assert len(answer.pop("task_id")) == 32
    assert answer == {
        "success": True,
        "seed": 7,
        "original_prompt": "abc",
        "enhanced_prompt": None,
        "gpu_id": None,
        "error": None,
        "ignored": [],
    }


def test_what_a_distilled_generator_takes_from_no_request_is_said(tmp_path):
    service = service_of(tmp_path, spec="flux2-klein")
    sent = {"prompt": "abc", "num_inference_steps": 50, "guidance_scale": 4.0}
    answer = ask(service, "POST", "/edit", json=sent).json()
    assert answer["ignored"] == ["guidance_scale", "num_inference_steps"]
    assert answer["enhanced_prompt"] == "abc"


def test_an_upload_goes_and_comes_as_bytes(tmp_path):
    form = {"data": {"prompt": "abcd", "seed": "9"}, "files": {"image_file": ("a.png", png(), "image/png")}}
    service = service_of(tmp_path)
    raw = ask(service, "POST", "/edit-upload", headers={"Accept": "image/png"}, **form)
    assert (raw.headers["content-type"], raw.headers["x-seed"]) == ("image/png", "9")
    assert pixel(raw.content) == (200, 4, 9)
    assert base64.b64decode(ask(service, "POST", "/edit-upload", **form).json()["edited_image"]) == raw.content


def test_health_means_that_an_image_was_made(tmp_path):
    assert ask(service_of(tmp_path), "GET", "/health").json()["status"] == "Healthy"

    class Broken(Painter):
        def _load(self):
            raise RuntimeError("no GPU")

    response = ask(service_of(tmp_path, Broken), "GET", "/health")
    assert (response.status_code, response.json()["status"]) == (503, "Unhealthy")


def test_status_tells_what_the_generator_can_do_and_how_long_it_takes(tmp_path):
    service = service_of(tmp_path)
    for seed in range(3):
        ask(service, "POST", "/edit", json={**EDIT, "seed": seed})
    status = ask(service, "GET", "/status").json()
    assert (status["system_ready"], status["active_workers"], status["pending_tasks"]) == (True, 1, 0)
    assert status["generator"]["name"] == "qwen-image-edit-plus"
    assert sorted(status["generator"]["modes"]) == ["edit", "several images"]
    assert status["requests"] == {"answered": 3}
    assert 0 < status["latency_s"]["p50"] <= status["latency_s"]["p99"]


def test_prometheus_reads_the_numbers_of_the_status(tmp_path):
    service = service_of(tmp_path)
    ask(service, "POST", "/edit", json=EDIT)
    answer = ask(service, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    assert "interleave_service_active_workers 1.0" in lines
    assert "interleave_service_requests_answered 1.0" in lines


def test_openais_interface_generates_and_edits(tmp_path):
    service = service_of(tmp_path, spec="flux2-klein")
    made = ask(service, "POST", "/v1/images/generations", json={"prompt": "abc", "n": 2, "seed": 5, "model": "dall-e"})
    assert [pixel(base64.b64decode(one["b64_json"])) for one in made.json()["data"]] == [(0, 3, 5), (0, 3, 6)]
    sent = png((64, 64))
    files = [("image[]", ("a.png", sent, "image/png")), ("image[]", ("b.png", sent, "image/png"))]
    fields = {"prompt": "ab", "seed": "1", "size": "512x512"}
    edited = ask(service, "POST", "/v1/images/edits", data=fields, files=files)
    assert pixel(base64.b64decode(edited.json()["data"][0]["b64_json"])) == (200, 2, 1)
    assert ask(service, "GET", "/v1/models").json()["data"][0]["id"] == "flux2-klein"


def bomb():
    """A PNG of 30,000 x 30,000 pixels in a few hundred kilobytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * (30_000 * 100), 9)
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


HOSTILE: dict[str, tuple[dict[str, Any], int, str]] = {
    "not an image": ({"json": {**EDIT, "image": b64(b"#!/bin/sh")}}, 400, "9 bytes that cannot be read as one"),
    "an empty image": ({"json": {**EDIT, "image": ""}}, 400, "an empty file"),
    "a torn image": ({"json": {**EDIT, "image": b64(png((64, 64))[:50])}}, 400, "cannot be read as one"),
    "a bomb": ({"json": {**EDIT, "image": b64(bomb())}}, 400, "more pixels than the|30000x30000"),
    "a large image": ({"json": {**EDIT, "image": b64(png((5000, 4000), 0, "1"))}}, 400, "5000x4000 pixels, more than"),
    "a path": ({"json": {**EDIT, "image": "/etc/passwd"}}, 400, "paths and URLs are not opened"),
    "a URL": ({"json": {**EDIT, "image": "http://169.254.169.254/latest"}}, 400, "paths and URLs are not opened"),
    "a file URL": ({"json": {**EDIT, "image": "file:///etc/passwd"}}, 400, "paths and URLs are not opened"),
    "a number for an image": ({"json": {**EDIT, "image": 5}}, 400, "found a number"),
    "an SVG": ({"json": {**EDIT, "image": b64(b"<svg xmlns='x'/>")}}, 400, "found SVG data"),
    "a megabyte of prompt": (
        {"json": {**EDIT, "prompt": "x" * 2**20}},
        400,
        "1,048,576 characters, more than the 16,000",
    ),
    "no prompt": ({"json": {"image": EDIT["image"]}}, 400, "prompt is missing"),
    "a list for a prompt": ({"json": {**EDIT, "prompt": ["a"]}}, 400, "prompt: expected a text, found a list"),
    "half a character": ({"content": json.dumps({**EDIT, "prompt": "a \ud800"})}, 400, "prompt holds half a character"),
    "half a character to avoid": (
        {"content": json.dumps({**EDIT, "negative_prompt": "\udfff"})},
        400,
        "negative_prompt holds half a character",
    ),
    "a word for a seed": ({"json": {**EDIT, "seed": "seven"}}, 400, "seed: expected a whole number"),
    "a fraction for a seed": ({"json": {**EDIT, "seed": 0.5}}, 400, "seed: expected a whole number"),
    "a seed below 0": ({"json": {**EDIT, "seed": -1}}, 400, "seed: expected a whole number from 0"),
    "a seed beyond all floats": ({"json": {**EDIT, "seed": 10**400}}, 400, "seed: expected a whole number from 0"),
    "guidance beyond all floats": ({"json": {**EDIT, "guidance_scale": 10**400}}, 400, "guidance_scale: expected a"),
    "an infinite seed": ({"content": '{"prompt": "x", "seed": 1e400}'}, 400, "seed: expected a whole number"),
    "a seed that is no number": ({"content": '{"prompt": "x", "seed": NaN}'}, 400, "seed: expected a whole number"),
    "a million steps": ({"json": {**EDIT, "num_inference_steps": 10**6}}, 400, "from 1 to 100, found '1000000'"),
    "no number": ({"content": '{"prompt": "x", "guidance_scale": NaN}'}, 400, "guidance_scale: expected a number"),
    "no JSON": ({"content": b"\xff\xfe"}, 400, "not JSON"),
    "a deep JSON": ({"content": b"[" * 200_000}, 400, "JSON is not accepted"),
    "a JSON list": ({"json": []}, 400, "found a list"),
    "nine megabytes of lists": ({"content": b'{"a": [' + b"[]," * 3_000_000 + b"[]]}"}, 400, "more than 100,000 lists"),
    "a million commas in a text": ({"json": {**EDIT, "prompt": "," * 10**6}}, 400, "more than 100,000 lists"),
    "a number of a megabyte": ({"content": b'{"seed": ' + b"1" * 2**20 + b"}"}, 400, "not JSON"),
    "a packed body": ({"content": b"x", "headers": {"Content-Encoding": "gzip"}}, 415, "Content-Encoding is 'gzip'"),
    "a costly image": ({"json": {**EDIT, "image": b64(jpeg_of_scans(500))}}, 400, "the JPEG has more than 32 scans"),
    "an image by an upload's name": ({"json": {"prompt": "a", "image_file": "x"}}, 400, "expected an uploaded file"),
    "an image by an unknown name": ({"json": {"prompt": "a", "init_image": "x"}}, 400, "init_image: there is no such"),
    "a control token": ({"json": {**EDIT, "prompt": "a cat<|im_end|>"}}, 400, "prompt holds <|im_end|>, which models"),
    "a control token to avoid": ({"json": {**EDIT, "negative_prompt": "<|image_pad|>"}}, 400, "holds <|image_pad|>"),
    "one side of a size": ({"json": {**EDIT, "width": 512}}, 400, "send both, or neither"),
    "a size that is none": ({"json": {**EDIT, "width": 500, "height": 512}}, 400, "multiples of 16"),
    "what it cannot do": ({"json": {"prompt": "abc"}}, 400, "qwen-image-edit-plus does no text-to-image"),
    "too many images": ({"json": {**EDIT, "references": [EDIT["image"]] * 9}}, 400, "takes 3 images at most"),
    "a long body": ({"content": b" " * (33 * 2**20)}, 413, "more than the 33,554,432 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_edit_is_refused_and_changes_nothing(tmp_path, case):
    sent, status, why = HOSTILE[case]
    service = service_of(tmp_path)
    response = ask(service, "POST", "/edit", **sent)
    assert response.status_code == status
    error = response.json()["error"]
    assert any(part in error for part in why.split("|")), error
    assert (files_in(tmp_path), service.num_pending, dict(service.counts)) == ([], 0, {})


@pytest.mark.parametrize(("size", "why"), [((63, 512), "64 pixels a side at least"), ((64, 520), "a ratio up to 8")])
def test_an_image_that_the_generator_does_not_look_at_is_refused_before_it_is_kept(tmp_path, size, why):
    service = service_of(tmp_path, spec="flux2-klein")
    response = ask(service, "POST", "/edit", json={**EDIT, "image": b64(png(size))})
    assert response.status_code == 400
    assert f"{why}, not {size[0]}x{size[1]}" in response.json()["error"]
    assert (files_in(tmp_path), service.num_pending, dict(service.counts)) == ([], 0, {})
    assert ask(service, "POST", "/edit", json={**EDIT, "image": b64(png((64, 512)))}).status_code == 200


def test_what_the_pipeline_refuses_is_the_clients_fault(tmp_path):
    service = service_of(tmp_path)
    response = ask(service, "POST", "/edit", json={**EDIT, "prompt": "strange"})
    assert response.status_code == 400
    assert "refuses the request: Image too small" in response.json()["error"]


def test_a_body_without_a_told_length_is_cut_off(tmp_path):
    async def endless():
        while True:
            yield b" " * 2**20

    assert ask(service_of(tmp_path), "POST", "/edit", content=endless()).status_code == 413


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        ({"json": {"prompt": "a"}}, 415, "expected multipart/form-data"),
        ({"data": {"prompt": "a"}, "files": {"other": b"x"}}, 400, "image is missing"),
        ({"data": {"prompt": "a", "image": "http://x"}, "files": {"image": b"x"}}, 400, "paths and URLs"),
        (
            {"data": {"prompt": "a", "n": "99"}, "files": {"image": png()}},
            400,
            "n: expected a whole number from 1 to 8",
        ),
        ({"data": {"prompt": "a", "size": "huge"}, "files": {"image": png()}}, 400, "expected WIDTHxHEIGHT"),
        ({"data": {"prompt": "a", "response_format": "url"}, "files": {"image": png()}}, 400, "only sent as b64_json"),
        ({"data": {"prompt": "a"}, "files": {"image": b"GIF89a"}}, 400, "found GIF data"),
        (
            {"data": {"prompt": "a"}, "files": [("image[]", png()), ("image[]", b"GIF89a")]},
            400,
            "image 2 of 2: expected a PNG, JPEG, WEBP image, found GIF data",
        ),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "form cannot be read"),
        ({"data": {"prompt": "<|vision_start|>"}, "files": {"image": png()}}, 400, "prompt holds <|vision_start|>"),
        ({"data": {"image": "text", "prompt": "a"}, "files": {"mask": png()}}, 400, "image is missing"),
        ({"data": {"image[]": "text", "prompt": "a"}, "files": {"image": png()}}, 400, "paths and URLs"),
        ({"data": {"prompt": "a", "mask[]": "x"}, "files": {"image": png()}}, 400, "paths and URLs"),
        ({"files": {"image": png(), "prompt": b"a"}}, 400, "prompt: expected a text, found an uploaded file"),
        ({"data": {"prompt": "a"}, "files": {"image": png(), "photo": png()}}, 400, "photo: there is no such file"),
        ({"data": {"prompt": ["a", "b"]}, "files": {"image": png()}}, 400, "prompt: expected once, found twice"),
        ({"data": {"prompt": "a"}, "files": [("image", png()), ("mask", png()), ("mask", png())]}, 400, "one image"),
    ],
)
def test_a_hostile_upload_is_refused_in_openais_shape(tmp_path, options, status, why):
    response = ask(service_of(tmp_path), "POST", "/v1/images/edits", **options)
    assert response.status_code == status
    assert why in response.json()["error"]["message"]
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "files", "why"),
    [
        ({"image_file": "a.png"}, {}, "image_file: expected an uploaded file (multipart/form-data), found a text"),
        ({"mask_file": "a.png"}, {"image_file": png()}, "mask_file: expected an uploaded file"),
        ({"references": "a.png"}, {"image_file": png()}, "references: expected a list"),
        ({"image_url": "http://x"}, {"image_file": png()}, "image_url: there is no such field"),
        (
            {},
            {"image": png()},
            "image: expected a text, found an uploaded file; send files as image_file and mask",
        ),
        ({}, {"file": png()}, "file: there is no such file; send files as image_file and mask_file"),
        ({}, {"image_file": png(), "seed": b"7"}, "seed: expected a text, found an uploaded file"),
        ({}, {"image_file": b""}, "found an empty file that cannot be read as one"),
    ],
)
def test_an_image_that_would_be_left_out_in_silence_is_refused(tmp_path, data, files, why):
    files = files or {"other": (None, "text")}  # a form, and no file
    response = ask(service_of(tmp_path), "POST", "/edit-upload", data={"prompt": "abc", **data}, files=files)
    assert response.status_code == 400
    assert why in response.json()["error"]
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        *(
            (f"multipart/form-data; boundary=b; charset={name}", 400)
            for name in ("undefined", "idna", "utf-16", "no", "\xff")
        ),
        ("multipart/form-data; charset=utf-8", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=other", 400),
        ("multipart/form-dat", 415),
        ("application/x-www-form-urlencoded", 415),
        ("Multipart/Form-Data; Boundary=b; Charset=UTF-8", 200),
        ("multipart/form-data; boundary=b", 200),
    ],
)
def test_an_odd_form_is_the_clients_fault(tmp_path, kind, status):
    parts = {b'"prompt"': b"abc", b'"seed"': b"7", b'"image_file"; filename="a"': png()}
    body = b"".join(b"--b\r\nContent-Disposition: form-data; name=%b\r\n\r\n%b\r\n" % part for part in parts.items())
    headers = {"Content-Type": kind.encode("latin-1")}
    response = ask(service_of(tmp_path), "POST", "/edit-upload", content=body + b"--b--\r\n", headers=headers)
    assert response.status_code == status, response.text
    assert "error" in response.json()


def test_unknown_fields_are_named_and_the_public_clients_spelling_of_steps_is_taken(tmp_path):
    service = service_of(tmp_path, spec="qwen-image-edit-plus")
    asked = []
    make = service.make
    service.make = lambda image_request: asked.append(image_request.options) or make(image_request)
    sent = {**EDIT, "num_inference_step": 9, "true_cfg_scale": 4.0, "nothing": None}
    answer = ask(service, "POST", "/edit", json=sent)
    assert (answer.status_code, answer.json()["ignored"]) == (200, ["true_cfg_scale"])
    assert asked == [(("num_inference_steps", 9),)]
    files = {"image": png()}
    data = {"prompt": "a", "model": "m", "quality": "high", "partial_images": "0"}
    answer = ask(service, "POST", "/v1/images/edits", data=data, files=files)
    assert (answer.status_code, answer.json()["ignored"]) == (200, ["partial_images", "quality"])


def test_a_size_that_the_recipe_pins_is_refused_or_scaled_to_as_the_service_is_set(tmp_path):
    def size_of(response):
        with Image.open(io.BytesIO(base64.b64decode(response.json()["edited_image"]))) as image:
            return image.size

    def pinned(**limits):
        service = service_of(tmp_path, **limits)
        config = replace(service.generator.config, width=16, height=8)
        return ImageService(replace(service.generator, config=config), service.config)

    wished = {**EDIT, "width": 1024, "height": 1024}
    refused = ask(pinned(), "POST", "/edit", json=wished)
    assert refused.status_code == 400
    assert "is set to 16x8 by its recipe, not 1024x1024" in refused.json()["error"]
    scaling = pinned(other_sizes="scale")
    own = size_of(ask(scaling, "POST", "/edit", json=EDIT))
    larger = {"width": own[0] * 100, "height": own[1] * 100}
    assert size_of(ask(scaling, "POST", "/edit", json=EDIT | larger)) == (own[0] * 100, own[1] * 100)
    assert size_of(ask(scaling, "POST", "/edit", json=EDIT | larger | {"width": 10**4})) == (own[0] * 100, own[1] * 100)
    large = ask(scaling, "POST", "/edit", json={**EDIT, "width": 16384, "height": 16384})
    assert large.status_code == 400
    assert "more than the 16,777,216 pixels allowed" in large.json()["error"]
    with pytest.raises(ValueError, match="'stretch'; expected refuse or scale"):
        ServiceConfig(other_sizes="stretch")


def test_an_error_holds_no_object_of_python(tmp_path):
    service = service_of(tmp_path)

    async def edit(request):
        raise GeneratorError("no image in [<PIL.Image.Image image mode=RGB size=4096x1 at 0x7F06C0>]")

    service.generator.edit = edit
    error = ask(service, "POST", "/edit", json=EDIT).json()["error"]
    assert error == "the image was not made: no image in [Image]"


def test_a_mask_that_cannot_be_read_is_called_one(tmp_path):
    files = {"image_file": png(), "mask_file": b"no mask"}
    response = ask(
        service_of(tmp_path, spec="flux1-fill-dev"), "POST", "/edit-upload", data={"prompt": "a"}, files=files
    )
    assert response.status_code == 400
    assert response.json()["error"].startswith("mask: expected a PNG, JPEG, WEBP image, found 7 bytes")


@pytest.mark.slow
def test_a_costly_image_is_given_up_with_its_client_and_holds_no_place(tmp_path):
    """Slow: it starts processes of Python."""
    service = service_of(tmp_path, timeout_s=0.2)
    response = ask(service, "POST", "/edit-upload", data={"prompt": "a"}, files={"image_file": noise(3000)})
    assert (response.status_code, service.num_pending) == (504, 0)
    assert files_in(tmp_path) == []


def test_who_has_the_key_may_ask_and_nobody_else(tmp_path):
    service = service_of(tmp_path)
    codes = {}
    for name, headers in {
        "none": {},
        "wrong": {"Authorization": "Bearer the-kez"},
        "bearer": {"Authorization": "Bearer the-key"},
        "header": {"X-API-Key": "the-key"},
    }.items():
        codes[name] = ask(service, "POST", "/edit", json=EDIT, key=KEY, headers=headers).status_code
    assert codes == {"none": 401, "wrong": 401, "bearer": 200, "header": 200}
    refused = ask(service, "POST", "/v1/images/generations", json=EDIT, key=KEY)
    assert refused.json()["error"]["type"] == "authentication_error"
    assert ask(service, "GET", "/status", key=KEY).status_code == 401
    assert ask(service, "GET", "/health", key=KEY).status_code == 200


def test_without_a_key_no_page_of_another_site_may_ask(tmp_path):
    service = service_of(tmp_path)
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
        assert ask(service, "POST", "/edit", json=EDIT, headers=headers).status_code == 403
    assert ask(service, "POST", "/edit", json=EDIT, headers={"Origin": "http://localhost:3000"}).status_code == 200


def test_a_service_that_is_open_to_others_needs_a_key(monkeypatch):
    monkeypatch.delenv("INTERLEAVE_API_KEY", raising=False)
    assert read_service_key(ServiceConfig()) is None
    with pytest.raises(ValueError, match="INTERLEAVE_API_KEY"):
        read_service_key(ServiceConfig(host="0.0.0.0"))
    monkeypatch.setenv("INTERLEAVE_API_KEY", "the-key")
    assert read_service_key(ServiceConfig(host="0.0.0.0")).value == "the-key"


def test_a_full_queue_says_when_to_come_back(tmp_path):
    service = service_of(tmp_path, Slow, max_pending=2)
    talks = [partial(_post, {**EDIT, "seed": seed}) for seed in range(5)]
    answers = talk(service, *talks)
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 200, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert service.num_pending == 0


def _post(content, client):
    return client.post("/edit", json=content)


def test_n_images_take_n_places(tmp_path):
    service = service_of(tmp_path, spec="flux2-klein", max_pending=2)
    response = ask(service, "POST", "/v1/images/generations", json={"prompt": "a", "n": 3})
    assert response.status_code == 429
    assert service.num_pending == 0


def test_a_request_that_takes_too_long_ends(tmp_path):
    response = ask(service_of(tmp_path, Slow, timeout_s=0.02), "POST", "/edit", json=EDIT)
    assert response.status_code == 504
    assert "not made within 0.02 s" in response.json()["error"]


def test_a_failure_of_the_generator_is_told_and_counted(tmp_path):
    service = service_of(tmp_path)
    response = ask(service, "POST", "/edit", json={**EDIT, "prompt": "bad"})
    assert response.status_code == 502
    assert "CUDA out of memory" in response.json()["error"]
    assert service.counts == {"failed": 1}


@pytest.mark.parametrize("is_retryable", [True, False])
def test_a_failure_that_would_come_again_is_told_as_one(tmp_path, is_retryable):
    service = service_of(tmp_path)

    async def edit(request):
        raise GeneratorError("found GIF data") from CallError(Fault("unreadable", "found GIF data", is_retryable))

    service.generator.edit = edit
    response = ask(service, "POST", "/edit", json=EDIT)
    assert response.status_code == 502
    assert response.headers.get("x-should-retry") == (None if is_retryable else "false")


def test_a_client_that_goes_away_takes_its_waiting_request_along(tmp_path):
    class Held(Painter):
        """Paints its warm-up, and nothing further until it may."""

        is_painting, may_paint = threading.Event(), threading.Event()

        def _load(self):
            canvas = super()._load()
            paint = canvas.draw

            def draw(images, mask, requests):
                if images:
                    self.is_painting.set()
                    assert self.may_paint.wait(30)
                return paint(images, mask, requests)

            canvas.draw = draw
            return canvas

    service = service_of(tmp_path, Held)
    app = build_app(service, None)

    async def scenario():
        async def send(_):
            pass

        def client(seed, leaves):
            body = json.dumps({**EDIT, "seed": seed}).encode()
            messages = [{"type": "http.request", "body": body, "more_body": False}]

            async def receive():
                if messages:
                    return messages.pop()
                await leaves.wait()
                return {"type": "http.disconnect"}

            scope = {"type": "http", "method": "POST", "path": "/edit", "headers": [(b"host", b"localhost")]}
            return app({**scope, "query_string": b"", "http_version": "1.1"}, receive, send)

        stays, leaves = asyncio.Event(), asyncio.Event()
        running = [asyncio.create_task(client(seed, stays if seed == 0 else leaves)) for seed in range(4)]
        while service.num_pending < 4:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(Held.is_painting.wait, 30)
        leaves.set()
        await asyncio.gather(*running[1:])
        Held.may_paint.set()
        await running[0]
        await client(9, stays)  # behind all that may still wait
        return await service.generator.pool._replica()

    replica = asyncio.run(scenario())
    assert service.counts == {"answered": 2, "gone": 3}
    assert service.num_pending == 0
    assert len(replica.batches) <= 4  # the warm-up, the two that stayed, and one that was being painted already


def test_the_store_keeps_what_was_made(tmp_path):
    service = service_of(tmp_path)
    first = ask(service, "POST", "/edit", json=EDIT).json()["edited_image"]
    assert ask(service_of(tmp_path), "POST", "/edit", json=EDIT).json()["edited_image"] == first
    assert len(files_in(tmp_path / "calls")) == 1
    assert Store(tmp_path).root == tmp_path
