"""The law through real parts: fixed random walks; `scripts/walks N` takes any number of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.proxy import Proxy, running_proxy
from tests.support.scripted_api import ScriptedServer
from tests.support.thread_walks import OPTIONS, ThreadWalk
from tests.support.walks import STEPS, Walk, take_walks


def raise_first(failures: list[BaseException | None]) -> None:
    for failure in failures:
        if failure is not None:
            raise failure


@pytest.mark.acceptance(22)
def test_the_law_on_walks_through_one_proxy(proxy: Proxy, api: ScriptedServer) -> None:
    walks = [Walk(seed, api, "test-walk") for seed in range(2)]
    raise_first(take_walks(walks, proxy, STEPS))
    assert {plan.split()[0] for walk in walks for plan in walk.plans} >= {
        "fresh",
        "resume",
        "fork",
        "import",
    }
    assert {plan.split()[1] for walk in walks for plan in walk.plans} >= {
        "tool_results",
        "tools_imported",
    }


@pytest.mark.acceptance(1, 22)
def test_the_law_on_walks_while_the_proxy_is_restarted(tmp_path: Path, api: ScriptedServer) -> None:
    walks = [Walk(4, api, "test-walk"), ThreadWalk(7, api, "test-walk")]
    for _ in range(2):
        with running_proxy(tmp_path, api.url, options=OPTIONS) as proxy:
            raise_first(take_walks(walks, proxy, STEPS // 2))
