"""Captured values are made available once, and dropped in the order of their last use."""

from __future__ import annotations

import pytest

from cloudbutton_backend.worker.blob_cache import BlobCache


@pytest.fixture
def released() -> list[str]:
    return []


@pytest.fixture
def cache(released: list[str]) -> BlobCache[str]:
    """Return a cache with room for 20 bytes that holds `a`, `b` and `c`, of 10 bytes each."""
    cache = BlobCache[str](20, released.append)
    for digest in "abc":
        cache.get(digest, 10, digest.upper)
    return cache


@pytest.mark.parametrize(
    "used, wanted, dropped",
    [("", 0, "a"), ("a", 0, "b"), ("abc", 0, ""), ("", 10, "ab"), ("b", 20, "ac")],
)
def test_what_was_used_least_recently_and_is_not_in_use_goes_first(
    cache: BlobCache[str], released: list[str], used: str, wanted: int, dropped: str
) -> None:
    assert cache.evict(set(used), wanted) == list(dropped)
    assert released == list(dropped.upper())


def test_what_is_used_again_stays_longer(cache: BlobCache[str]) -> None:
    assert cache.get("a", 10, lambda: "made again") == "A"
    assert cache.evict(set()) == ["b"]


def test_what_is_no_longer_valid_is_made_again(cache: BlobCache[str], released: list[str]) -> None:
    assert cache.get("a", 15, lambda: "new", lambda held: held == "new") == "new"
    assert (released, cache.free) == (["A"], -15)


def test_closing_twice_releases_each_value_once(cache: BlobCache[str], released: list[str]) -> None:
    cache.close()
    cache.close()
    assert (released, cache.free) == (["A", "B", "C"], 20)
