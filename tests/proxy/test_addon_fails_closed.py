"""Whatever goes wrong, a request that may be ours is answered with an error, not sent on."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
from mitmproxy import exceptions
from mitmproxy.http import HTTPFlow

from sessionbridge.claude.cli.child_mark import CHILD_HEADER
from sessionbridge.proxy.addon import SessionBridge
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store import SessionStore
from tests.support.addon_fixtures import (
    KEYED,
    Proxy,
    is_bridged,
    make_flow,
    new_context,
    proxy,
    refusal,
)

__all__ = ["proxy"]

SECRET = "what-the-exception-quotes"


class Broken:
    """Every method fails, and quotes what it was given."""

    path = None

    def __getattr__(self, name: str) -> Any:
        def fail(*_: object, **__: object) -> NoReturn:
            raise RuntimeError(SECRET)

        return fail


def break_routes(proxy: Proxy) -> None:
    proxy.addon.options.routes = Broken()  # type: ignore[assignment]


def break_origins(proxy: Proxy) -> None:
    proxy.addon.options.origins = Broken()  # type: ignore[assignment]


def break_gateway(proxy: Proxy) -> None:
    proxy.addon.rerouting._loopback = Broken()  # type: ignore[assignment]


def break_home(proxy: Proxy) -> None:
    proxy.addon.runtime._settings = Broken()  # type: ignore[assignment]


def break_settings(proxy: Proxy) -> None:
    proxy.addon.options.settings = Broken()  # type: ignore[assignment]
    proxy.addon.decision._guard = Broken()  # type: ignore[assignment]


BREAKS = [break_routes, break_origins, break_gateway, break_home, break_settings]


@pytest.mark.parametrize("broken", BREAKS)
async def test_each_part_may_fail(
    proxy: Proxy, caplog: pytest.LogCaptureFixture, broken: Callable[[Proxy], None]
) -> None:
    caplog.set_level(logging.DEBUG)
    broken(proxy)
    flow = make_flow({**KEYED, **({CHILD_HEADER: "any"} if broken is break_home else {})})
    await proxy.request(flow)
    status, error = refusal(flow)
    assert (status, error["type"], error["error"]["type"]) == (500, "error", "api_error")
    assert flow.request.stream is False and flow.comment == "refused · 500 BridgeError"
    assert SECRET not in caplog.text + repr(error)


async def test_the_other_apis_shape(proxy: Proxy) -> None:
    break_origins(proxy)
    flow = make_flow(KEYED, host="api.openai.com", path=b"/v1/chat/completions")
    flow.request.headers["host"] = "api.openai.com"
    status, error = refusal(await proxy.request(flow))
    assert (status, error["error"]["type"]) == (500, "server_error")


async def test_an_id_that_cannot_be_one(proxy: Proxy) -> None:
    flow = await proxy.request(make_flow({"x-sessionbridge-session": "a\x01b"}))
    status, error = refusal(flow)
    assert (status, error["error"]["type"]) == (400, "invalid_request_error")


def goes_on() -> HTTPFlow:
    """From an answer that was given here."""
    asked = {"model": "claude-x", "input": "And?", "previous_response_id": "resp_sb1"}
    body = json.dumps(asked).encode()
    return make_flow(content=body, host="api.openai.com", path=b"/v1/responses")


async def test_a_database_that_cannot_be_used(proxy: Proxy) -> None:
    Home(proxy.settings.home).database.mkdir(parents=True)
    assert is_bridged(await proxy.request(goes_on()))


BAD = [
    ("sessionbridge_timeout", 0),
    ("sessionbridge_first_token_timeout", 0),
    ("sessionbridge_retries", -1),
    ("sessionbridge_claude_env", ["=x"]),
    ("sessionbridge_config", "/no/such/file.toml"),
    ("sessionbridge_home", "~nobody-of-that-name/home"),
    ("sessionbridge_claude", "~nobody-of-that-name/claude"),
]


@pytest.mark.parametrize(("option", "value"), BAD)
async def test_a_bad_option_is_named_and_the_good_one_comes_back(
    proxy: Proxy, option: str, value: Any
) -> None:
    with pytest.raises(exceptions.OptionsError, match=option):
        proxy.set(**{option: value})
    assert is_bridged(await proxy.request(make_flow(KEYED)))


async def test_an_unknown_choice(proxy: Proxy) -> None:
    with pytest.raises(exceptions.OptionsError, match="sessionbridge_unkeyed|sometimes"):
        proxy.set(sessionbridge_unkeyed="sometimes")


@pytest.mark.parametrize(("option", "value"), BAD)
@pytest.mark.parametrize("host", ["api.anthropic.com", "llm.example"])
async def test_started_with_a_bad_option_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: Any, host: str
) -> None:
    """mitmproxy keeps a script whose options are wrong, and takes no option back."""
    monkeypatch.setenv("HOME", str(tmp_path))
    addon = SessionBridge()
    with new_context() as context:
        context.master.addons.register(addon)
        proxy = Proxy(addon, context)
        context.options.update(mode=["reverse:https://llm.example"], **{option: value})
        with pytest.raises(exceptions.OptionsError, match=option):
            proxy.configure(set(context.options.keys()))
        for headers in (KEYED, {}):
            flow = make_flow({**headers, "host": host}, host=host)
            await proxy.requested(flow)
            status, error = refusal(flow)
            assert status == 500 and option in error["error"]["message"]
        proxy.done()
        await proxy.gateway.close()


async def test_before_it_is_configured_it_refuses() -> None:
    addon = SessionBridge()
    with new_context() as context:
        context.master.addons.register(addon)
        flow = make_flow(KEYED)
        await Proxy(addon, context).requested(flow)
        assert refusal(flow)[0] == 500
        await addon.loopback.close()


async def test_an_id_of_ours_is_known_without_the_database(proxy: Proxy) -> None:
    """Taken for a stranger's, what goes on from an answer given here would reach the real API."""
    assert proxy.addon.runtime.store is not None
    await proxy.addon.runtime.store.ask(SessionStore.count)
    with closing(sqlite3.connect(Home(proxy.settings.home).database)) as db:
        db.execute("ALTER TABLE turns RENAME TO elsewhere")
        db.commit()
    assert is_bridged(await proxy.request(goes_on()))
