"""Requests that share something stay together, unless that leaves others idle."""

from actors.homes import Homes


def test_a_key_stays_at_home_until_another_place_has_so_much_less():
    homes = Homes[str](slack=3)
    assert homes.choose(1, {"a": 0, "b": 0}) == "a"
    assert homes.choose(1, {"a": 2, "b": 0}) == "a"
    assert homes.choose(1, {"a": 3, "b": 0}) == "b"
    assert homes.choose(1, {"a": 0, "b": 2}) == "b"  # where it went last


def test_other_keys_go_where_least_is_to_do():
    homes = Homes[str](slack=3)
    homes.choose(1, {"a": 0, "b": 0})
    assert homes.choose(2, {"a": 1, "b": 0}) == "b"


def test_a_home_that_is_gone_or_forgotten_is_none():
    homes = Homes[str](slack=3)
    homes.choose(1, {"a": 0, "b": 0})
    assert homes.choose(1, {"b": 2}) == "b"
    homes.forget(1)
    assert homes.choose(1, {"a": 1, "b": 2}) == "a"
