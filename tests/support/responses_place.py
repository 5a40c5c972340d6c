"""A proxy with no API behind it that can be stopped and started, and clients of Responses."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai

from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.scripted_api import ScriptedServer


class Place:
    def __init__(self, home: Path, api: ScriptedServer, stack: ExitStack) -> None:
        self._home, self.api, self._stack = home, api, stack
        self._running = ExitStack()
        self.port = free_port()
        self.start()

    def start(self) -> None:
        self._running = self._stack.enter_context(ExitStack())
        mode = f"reverse:https://api.openai.com@{self.port}"
        options = {"upstream": "false", "unkeyed": "stateless"}
        self.proxy: Proxy = self._running.enter_context(
            running_proxy(self._home, self.api.url, "--mode", mode, options=options)
        )

    def restart(self) -> None:
        self._running.close()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def client(self, key: str = "sk-ann") -> Any:
        http = openai.DefaultHttpxClient(trust_env=False)
        made = openai.OpenAI(api_key=key, base_url=self.url, max_retries=0, http_client=http)
        return self._stack.enter_context(made)
