"""Which web pages may use the bridge, and how their browsers are told (Fetch standard, 3.3).

Pages of this machine may, and those of origins that an option lists; what any other sends is
refused before a turn runs, because a browser sends it whether or not the page may read the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from sessionbridge.proxy.routing import foreign_page

_METHODS = "GET, HEAD, POST, DELETE, OPTIONS"
_A_DAY = "86400"
"""Seconds; browsers keep a preflight's answer for two hours at most."""


def refuses(headers: Mapping[str, str], listed: Sequence[str], names: Collection[str] = ()) -> bool:
    """Whether a page sent the request that may not; `names` are this machine's beside loopback.
    Header names are in lower case."""
    origin = headers.get("origin")
    foreign = foreign_page(origin, headers.get("sec-fetch-site"), names)
    return foreign and not (origin and is_listed(origin, listed))


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    return (
        method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
    )


def preflight_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The answer to a page that may: whatever headers it wants to send."""
    answer = {
        **answer_headers(headers),
        "access-control-allow-methods": _METHODS,
        "access-control-max-age": _A_DAY,
    }
    if wanted := headers.get("access-control-request-headers"):
        answer["access-control-allow-headers"] = wanted
    if headers.get("access-control-request-private-network") == "true":
        answer["access-control-allow-private-network"] = "true"
    return answer


def answer_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """With these a page may read the answer, and all headers of it; none where no page asks."""
    if not (origin := headers.get("origin")):
        return {}
    return {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "*",
        "vary": "Origin",
    }


def is_listed(origin: str, listed: Sequence[str]) -> bool:
    return any(fnmatchcase(origin, pattern) for pattern in listed)
