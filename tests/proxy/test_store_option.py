"""An address of a database that cannot be used, in mitmproxy's own test context."""

from __future__ import annotations

import pytest
from mitmproxy import exceptions

from tests.support.addon_fixtures import Proxy, make_flow, proxy, refusal

__all__ = ["proxy"]

WRONG = {
    "postgresql://ann:xyzzy/a@db.lan/sessions": "is no address that PostgreSQL understands",
    "postgresql://ann:%xyzzy@db.lan/sessions": "is no address that PostgreSQL understands",
    "mysql://ann:xyzzy@db.lan/sessions": "begins with postgresql://",
}


@pytest.mark.parametrize("url", WRONG)
async def test_it_is_told_without_its_password(
    proxy: Proxy, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    with pytest.raises(exceptions.OptionsError, match=WRONG[url]) as told:
        proxy.set(sessionbridge_store=url)
    assert "xyzzy" not in str(told.value) + caplog.text


async def test_from_the_environment_nothing_is_bridged(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSIONBRIDGE_STORE", "postgresql://ann:%xyzzy@db.lan/sessions")
    with pytest.raises(exceptions.OptionsError):
        proxy.configure({"sessionbridge_retries"})
    flow = await proxy.request(make_flow({"x-sessionbridge-session": "chat-1"}))
    status, body = refusal(flow)
    assert status == 500 and "is no address that PostgreSQL" in body["error"]["message"]
    assert "xyzzy" not in str(body)


async def test_it_is_not_shown_with_the_other_options(proxy: Proxy) -> None:
    proxy.set(sessionbridge_store="postgresql://ann:xyzzy@db.lan/sessions")
    assert "xyzzy" not in f"{proxy.settings!r} {proxy.settings}"
