"""Slow: a processor is transformers' own."""

import pytest
from PIL import Image

from actors.image_limit import limit_pixels
from tests.support.tiny_models import build_tiny_critic

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(build_tiny_critic(tmp_path_factory.mktemp("critic")))


@pytest.mark.parametrize(("max_pixels", "num_patches"), [(2**20, 256), (32 * 32, 64), (16 * 16, 16)])
def test_a_larger_image_is_scaled_down_and_counted_so(processor, max_pixels, num_patches):
    images = processor.image_processor
    images.size = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}
    limit_pixels(processor, max_pixels)
    made = images(images=[Image.new("RGB", (128, 128))], return_tensors="pt")
    assert len(made["pixel_values"]) == images.get_number_of_image_patches(128, 128, {}) == num_patches


def test_a_processor_without_pixel_bounds_is_left_alone():
    assert limit_pixels(object(), 1) == {}
