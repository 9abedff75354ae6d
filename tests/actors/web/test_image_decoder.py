"""Images of strangers in a process of their own: the same picture as ever, and an end to what takes too long."""

import asyncio
import io
import os
import signal
import time

import pytest
from PIL import Image

from actors.store.store import Store
from actors.store.untrusted_images import BadImage, flatten, mask_of, read_image
from actors.web import image_decoder
from actors.web.image_decoder import ImageDecoder, shared_decoder
from tests.support.hostile_images import noise


def file(mode="RGB", size=(6, 4), colour=(200, 0, 0), **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, **{"format": "PNG", **options})
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return file(format="JPEG", exif=exif)


@pytest.mark.parametrize("data", [file(), file("RGBA", colour=(1, 2, 3, 40)), file("L", colour=7), turned()])
def test_the_store_keeps_the_same_bytes_as_without_a_process(tmp_path, data):
    image = read_image(data, 2**24)
    store = Store(tmp_path)
    for is_mask, here in ((False, flatten(image)), (True, mask_of(image))):
        decoded = asyncio.run(shared_decoder().decode(data, 2**24, is_mask=is_mask))
        assert store.put_png(decoded.png) == store.put_image(here)
        assert decoded.size == here.size


def test_a_refusal_is_told_and_the_process_goes_on():
    decoder = ImageDecoder(1)

    async def scenario():
        with pytest.raises(BadImage, match="2 bytes that cannot be read as one"):
            await decoder.decode(b"no", 2**24)
        with pytest.raises(BadImage, match="6x4 pixels, more than the 10"):
            await decoder.decode(file(), 10)
        (process,) = {child._process.pid for child in decoder._idle}
        await asyncio.gather(*(decoder.decode(file(), 2**24) for _ in range(8)))
        return process, {child._process.pid for child in decoder._idle}

    process, idle = asyncio.run(scenario())
    assert idle == {process}


@pytest.mark.slow
def test_who_leaves_ends_the_work_and_the_next_is_decoded():
    """Slow: it starts processes of Python."""
    decoder = ImageDecoder(1)

    async def scenario():
        await decoder.decode(file(), 2**24)
        (child,) = decoder._idle
        leaving = asyncio.create_task(decoder.decode(noise(3000), 2**24))
        waiting = asyncio.create_task(decoder.decode(noise(3000), 2**24))  # for the one process that there is
        while decoder._idle:
            await asyncio.sleep(0.001)
        for task in (leaving, waiting):
            task.cancel()
        answers = await asyncio.gather(leaving, waiting, return_exceptions=True)
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)
        began = time.process_time()
        assert (await decoder.decode(file(), 2**24)).size == (6, 4)
        assert child._process.poll() == -signal.SIGKILL
        assert time.process_time() - began < 1  # the work was not done here

    asyncio.run(scenario())


@pytest.mark.slow
def test_what_takes_too_long_is_ended(monkeypatch):
    """Slow: it starts processes of Python."""
    decoder = ImageDecoder(1)
    monkeypatch.setattr(image_decoder, "MAX_SECONDS", 0.05)
    with pytest.raises(BadImage, match=r"longer than 0\.05 s to read"):
        asyncio.run(decoder.decode(noise(3000), 2**24))
    assert decoder._idle == []
    monkeypatch.undo()
    assert asyncio.run(decoder.decode(file(), 2**24)).size == (6, 4)


@pytest.mark.slow
def test_a_process_that_breaks_down_is_replaced():
    """Slow: it starts processes of Python."""
    decoder = ImageDecoder(1)

    async def scenario():
        await decoder.decode(file(), 2**24)
        os.kill(decoder._idle[0]._process.pid, signal.SIGKILL)
        decoder._idle[0]._process.wait()
        with pytest.raises(BadImage, match="its decoder broke down"):
            await decoder.decode(file(), 2**24)
        return await decoder.decode(file(), 2**24)

    assert asyncio.run(scenario()).size == (6, 4)


def test_a_file_of_the_working_folder_is_not_taken_for_ours(tmp_path, monkeypatch):
    for name in ("actors.py", "json.py", "PIL.py"):
        (tmp_path / name).write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert asyncio.run(ImageDecoder(1).decode(file(), 2**24)).size == (6, 4)
