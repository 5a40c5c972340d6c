"""The clients of tests: of a proxy (`tests.support.proxy.Proxy`), or of a server at its address."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Protocol

import anthropic
import httpx
import openai


class Clients(Protocol):
    def http(self, **options: Any) -> httpx.Client: ...

    def anthropic(self, headers: Mapping[str, str]) -> anthropic.Anthropic: ...

    def openai(self, headers: Mapping[str, str]) -> openai.OpenAI: ...


class ServerClients:
    """Whatever host they mean, they ask the server. `open_` is what closes them."""

    def __init__(self, url: str, open_: ExitStack) -> None:
        self._url = httpx.URL(url)
        self._open = open_

    def http(self, **options: Any) -> httpx.Client:
        def lead_here(request: httpx.Request) -> None:
            there = self._address()
            request.url = request.url.copy_with(scheme="http", host=there.host, port=there.port)

        hooks: Any = {"request": [lead_here]}
        client = httpx.Client(timeout=30, trust_env=False, event_hooks=hooks, **options)
        return self._open.enter_context(client)

    def _address(self) -> httpx.URL:
        return self._url

    def anthropic(self, headers: Mapping[str, str]) -> anthropic.Anthropic:
        client = anthropic.Anthropic(
            api_key="sk-ant-client-key",
            base_url=str(self._url),
            max_retries=0,
            default_headers=headers,
            http_client=anthropic.DefaultHttpxClient(trust_env=False),
        )
        return self._open.enter_context(client)

    def openai(self, headers: Mapping[str, str]) -> openai.OpenAI:
        client = openai.OpenAI(
            api_key="sk-client-key",
            base_url=f"{self._url}/v1",
            max_retries=0,
            default_headers=headers,
            http_client=openai.DefaultHttpxClient(trust_env=False),
        )
        return self._open.enter_context(client)
