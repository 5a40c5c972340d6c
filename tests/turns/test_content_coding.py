"""Bodies in every coding, also several, and none that grows beyond its limit."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest

from sessionbridge.turns.content_coding import BadCoding, TooLarge, UnknownCoding, decoded, known

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY = b'{"messages": []}' * 100
ENOUGH = 1_000_000

CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "identity": bytes,
}


@pytest.mark.parametrize("coding", CODERS)
@pytest.mark.parametrize("spelled", [str.lower, str.upper, " {}\t".format, ",{},".format])
def test_each_coding_however_it_is_spelled(coding: str, spelled: Callable[[str], str]) -> None:
    assert decoded(CODERS[coding](BODY), spelled(coding), ENOUGH) == BODY


@pytest.mark.parametrize("first", CODERS)
@pytest.mark.parametrize("second", CODERS)
def test_two_codings_are_undone_from_the_last(first: str, second: str) -> None:
    body = CODERS[second](CODERS[first](BODY))
    assert decoded(body, f"{first}, {second}", ENOUGH) == BODY


def test_deflate_without_its_header() -> None:
    raw = zlib.compressobj(wbits=-15)
    assert decoded(raw.compress(BODY) + raw.flush(), "deflate", ENOUGH) == BODY


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_that_follow_each_other(coding: str) -> None:
    parts = CODERS[coding](BODY[:10]) + CODERS[coding](BODY[10:])
    assert decoded(parts, coding, ENOUGH) == BODY
    with pytest.raises(TooLarge):
        decoded(parts, coding, 20)


@pytest.mark.parametrize("coding", CODERS)
def test_a_small_body_that_would_be_a_large_one(coding: str) -> None:
    assert decoded(CODERS[coding](b"a" * ENOUGH), coding, ENOUGH) == b"a" * ENOUGH
    for size in (ENOUGH + 1, 50 * ENOUGH):
        with pytest.raises(TooLarge):
            decoded(CODERS[coding](b"a" * size), coding, ENOUGH)


@pytest.mark.parametrize("coding", [name for name in CODERS if name != "identity"])
def test_what_is_no_such_thing(coding: str) -> None:
    with pytest.raises(BadCoding, match=coding):
        decoded(b"no such thing", coding, ENOUGH)


def test_what_was_cut_short_is_decoded_as_far_as_it_goes() -> None:
    body = bytes(range(256)) * 1000
    assert 0 < len(decoded(gzip.compress(body)[:-20], "gzip", ENOUGH)) <= len(body)


def test_an_unknown_coding_is_named() -> None:
    with pytest.raises(UnknownCoding, match="compress"):
        decoded(BODY, "gzip, compress", ENOUGH)
    assert known() == "gzip, deflate, br, zstd, identity"
