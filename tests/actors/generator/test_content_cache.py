"""What is kept by content: told apart by every part of it, and never more of it than there is room for."""

import pytest
from PIL import Image

from actors.generator.content_cache import ContentCache, content_key

RED, BLUE = (Image.new("RGB", (2, 2), tint) for tint in ("red", "blue"))


class Sized:
    def __init__(self, nbytes):
        self.nbytes = nbytes


def test_what_was_used_longest_ago_makes_room_and_what_is_too_large_is_not_kept():
    cache = ContentCache(max_bytes=10)
    one, two, three = Sized(4), (Sized(2), (Sized(2), None)), Sized(6)
    cache.put(b"1", one)
    cache.put(b"2", two)
    assert cache.get(b"1") is one
    cache.put(b"3", three)
    assert (cache.get(b"1"), cache.get(b"2"), cache.get(b"3")) == (one, None, three)
    cache.put(b"4", Sized(11))
    assert (cache.get(b"4"), cache.num_bytes) == (None, 10)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab",), ("a", "b")),
        ((1,), ("1",)),
        ((1,), (True,)),
        (([RED],), ([BLUE],)),
        ((RED,), (RED.convert("L"),)),
        ((RED,), (RED.resize((1, 4)),)),
    ],
)
def test_other_content_has_another_key(one, other):
    assert content_key(*one) == content_key(*one) != content_key(*other)


def test_what_has_no_content_to_go_by_is_said():
    with pytest.raises(TypeError, match="a object has no content"):
        content_key("a", object())
