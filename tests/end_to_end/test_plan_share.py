"""A login whose plan is used up to the share that is the bridge's: what the API tells with an
answer is known to the next turn, to Prometheus and to the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import anthropic
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from sessionbridge.cli.main import cli
from tests.support.proxy import running_proxy
from tests.support.scripted_api import ScriptedServer, user

OAUTH = "CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-dummy"


def test_a_bot_leaves_the_rest_of_a_plan_to_people(tmp_path: Path, api: ScriptedServer) -> None:
    resets = int(time.time()) + 3600
    told = {"status": "allowed", "5h-status": "allowed", "5h-utilization": "0.91"}
    told |= {"reset": str(resets), "5h-reset": str(resets), "representative-claim": "five_hour"}
    headers = {f"anthropic-ratelimit-unified-{name}": value for name, value in told.items()}
    login = {"claude_env": [OAUTH, f"ANTHROPIC_BASE_URL={api.url}"]}
    with running_proxy(tmp_path, api.url, options={**login, "plan_share": "90"}) as proxy:
        client = proxy.anthropic({"X-OpenClaw-Session": "bot"})
        ask: dict[str, Any] = {
            "model": "sonnet",
            "max_tokens": 100,
            "messages": [user("My name is Bob.")],
        }
        with api.telling(headers):
            assert client.messages.create(**ask).content[0].type == "text"
        asked = len(api.calls)
        with pytest.raises(anthropic.RateLimitError) as refused:
            client.messages.create(**ask)
        assert "91% of the 5h window of claude's plan" in refused.value.message
        assert 3500 < int(refused.value.response.headers["retry-after"]) <= 3600
        assert len(api.calls) == asked

        metrics = proxy.http().get("http://sessionbridge.local/metrics").text
        used = {
            (sample.labels["provider"], sample.labels["window"]): sample.value
            for family in text_string_to_metric_families(metrics)
            for sample in family.samples
            if sample.name == "sessionbridge_plan_window_used_ratio"
        }
        assert used == {("claude", "5h"): 0.91}
        ran = CliRunner().invoke(cli, ["--home", str(proxy.home / "bridge"), "limits", "--json"])
        (window,) = json.loads(ran.stdout)["plan_windows"]
        assert (window["window"], window["used"]) == ("5h", 0.91)
