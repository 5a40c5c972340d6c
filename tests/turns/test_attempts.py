"""How a request was sent, and the fingerprint of one that names no conversation."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sessionbridge.sessions.origins.fingerprint import fingerprint
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.turns.request_meta import attempt, trace
from tests.support.scripted_dispatcher import said


@pytest.mark.parametrize(
    ("headers", "again"),
    [
        ({}, False),
        ({"x-stainless-retry-count": "0"}, False),
        ({"x-stainless-retry-count": ""}, False),
        ({"x-stainless-retry-count": "1"}, True),
        ({"x-stainless-retry-count": " 12 "}, True),
    ],
)
def test_a_counted_retry(headers: Mapping[str, str], again: bool) -> None:
    assert attempt(headers).again == again


@pytest.mark.parametrize(
    ("value", "anew"), [("1", True), ("true", True), ("0", False), ("", False)]
)
def test_starting_over(value: str, anew: bool) -> None:
    assert attempt({"x-sessionbridge-new": value}).anew == anew


def test_credentials_are_known_by_any_of_their_headers() -> None:
    nobody = attempt({})
    callers = [attempt({name: "k"}).caller for name in ("authorization", "x-api-key", "api-key")]
    assert callers == [callers[0]] * 3 and callers[0] != nobody.caller


def test_keys_and_credentials_are_told_apart_but_not_kept() -> None:
    one = attempt({"idempotency-key": "key-1", "authorization": "Bearer sk-secret"})
    other = attempt({"idempotency-key": "key-2", "x-api-key": "sk-other"})
    assert one == attempt({"idempotency-key": " key-1 ", "authorization": "Bearer sk-secret"})
    assert one.key != other.key and one.caller != other.caller
    assert "key-1" not in repr(one) and "secret" not in repr(one)
    assert attempt({"idempotency-key": " "}).key is None


def test_of_a_trace_only_its_own_headers_are_known() -> None:
    of_trace = {"traceparent": "00-a-b-01", "tracestate": "vendor=1"}
    assert trace({**of_trace, "authorization": "Bearer sk-secret", "baggage": "a=b"}) == of_trace
    assert trace({}) == {}
    assert trace({"traceparent": "00-\udce4", "tracestate": "a" * 513}) == {}


def test_a_fingerprint_is_the_caller_and_the_beginning() -> None:
    begun = chain([said("user", "a")])
    going_on = chain([said("user", " a "), said("assistant", "A"), said("user", "b")])
    assert fingerprint("me", begun[0]) == fingerprint("me", going_on[0])
    assert fingerprint("you", begun[0]) != fingerprint("me", begun[0])
    assert fingerprint("me", chain([said("user", "z")])[0]) != fingerprint("me", begun[0])
    assert (fingerprint("me", begun[0]).kind, fingerprint("me", begun[0]).history) == (
        "conversation",
        "client",
    )
