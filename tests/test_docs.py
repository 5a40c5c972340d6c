"""What README and `docs/` show is run here, what they list is there, and links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.addonmanager import Loader
from mitmproxy.test import taddons
from openai import DefaultHttpxClient, OpenAI

from scripts.benchmarks.figures import Figure
from scripts.benchmarks.page import PAGE as SPEED
from scripts.benchmarks.page import write
from sessionbridge.claude.models import choice
from sessionbridge.config import ConfigFile, load
from sessionbridge.endpoints import known
from sessionbridge.providers import Provider
from sessionbridge.proxy import options
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.turns.exchange import Exchange, Wanted
from sessionbridge.turns.providers import chosen
from tests.support.documents import DOCS, DOCUMENTS, README, anchors, blocks, local_links
from tests.support.proxy import ROOT, Proxy, environment, free_port, running_proxy
from tests.support.scripted_api import ScriptedServer


@pytest.fixture(scope="module")
def reverse(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    modes = ("api.anthropic.com", "api.openai.com")
    arguments = [a for host in modes for a in ("--mode", f"reverse:https://{host}@{free_port()}")]
    with running_proxy(tmp_path_factory.mktemp("readme"), api.url, *arguments) as proxy:
        yield proxy


def at_home(proxy: Proxy, text: str) -> str:
    """The README's ports are those of its own example."""
    return text.replace(":8080", f":{proxy.ports[0]}").replace(":8081", f":{proxy.ports[1]}")


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("sessionbridge")), "demo", "--once"]
    done = subprocess.run(
        command,
        env=environment(tmp_path) | {"COLUMNS": "80"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (shown,) = blocks(README, "text")
    assert _without_chance(done.stdout) == _without_chance(shown)


def _without_chance(text: str) -> list[str]:
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.mark.acceptance(34)
def test_the_teams_bot_is_remembered(reverse: Proxy, tmp_path: Path) -> None:
    (snippet,) = blocks(DOCS / "teams-bot.md", "python")
    variables = environment(tmp_path) | {"LLM_BASE_URL": f"http://127.0.0.1:{reverse.ports[1]}/v1"}
    done = subprocess.run(
        [sys.executable, "-c", snippet], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Nice to meet you, Ada!", "Your name is Ada."]


@pytest.mark.parametrize(
    "snippet", [*blocks(DOCS / "api.md", "python"), *blocks(DOCS / "kept.md", "python")], ids=len
)
def test_the_examples_of_the_apis_are_answered(
    reverse: Proxy, tmp_path: Path, snippet: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", at_home(reverse, snippet)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "Nice to meet you, Ada!\n", done.stderr


@pytest.mark.parametrize("page", [README, DOCS / "conversations.md"], ids=lambda page: page.name)
def test_the_curl_example_is_answered(reverse: Proxy, tmp_path: Path, page: Path) -> None:
    (example,) = [block for block in blocks(page, "sh") if block.startswith("curl")]
    done = subprocess.run(
        shlex.split(at_home(reverse, example).replace("\\\n", " ")),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Nice to meet you, Bob!" in done.stdout, done.stderr


def test_the_configuration_example_is_valid() -> None:
    page = DOCS / "conversations.md"
    (example,) = [block for block in blocks(page, "toml") if "[[origins]]" in block]
    config = ConfigFile.model_validate(tomllib.loads(example))
    origin = Origins.default(config.origins).detect(
        {}, {"system": "You help.\nConversation: abc", "messages": []}
    )
    assert origin is not None
    assert (origin.platform, origin.external_id) == ("my-agent", "abc")
    assert config.endpoints[0].host == "llm.example.com"


def test_the_providers_on_their_page_can_be_obeyed(tmp_path: Path) -> None:
    page = DOCS / "providers.md"
    (example,) = blocks(page, "toml")
    file = tmp_path / "sessionbridge.toml"
    file.write_text(example)
    settings = load({"sessionbridge_config": str(file)}, {})
    assert list(settings.providers) == ["claude", "key", "anna", "bedrock"]
    asked = Exchange("messages", None, wanted=Wanted(model="big"))
    assert chosen(asked, settings) == "bedrock"
    assert choice("big", settings.of("bedrock").models).model.endswith("opus-4-5-20251101-v1:0")
    fields = set(Provider.model_fields)
    rows = re.findall(r"^\| (`.+?) \|", page.read_text("utf-8"), re.M)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == fields


def test_the_hosts_on_their_page_are_those_of_the_table() -> None:
    page = DOCS / "hosts.md"
    (example,) = blocks(page, "toml")
    config = ConfigFile.model_validate(tomllib.loads(example))
    assert [row.host for row in config.endpoints][:2] == ["*.llm.example.com", "openrouter.ai"]
    shown = re.findall(r"^\| `([\w-]+)` \| (.+?) \| (.+) \|$", page.read_text("utf-8"), re.M)
    assert [name for name, _, _ in shown] == list(known())
    for name, hosts, apis in shown:
        assert set(re.findall(r"`(.+?)`", hosts)) == {row.host for row in known()[name]}
        spoken = {api.lower() for api in re.findall(r"(?:^|, )\[?([A-Z]\w+)", apis)}
        assert spoken == {row.api for row in known()[name]}, name


def test_the_local_server_example_lists_its_models(tmp_path: Path, api: ScriptedServer) -> None:
    """Its own arguments, at a free port."""
    page = DOCS / "local-api-server.md"
    (command,) = [block for block in blocks(page, "sh") if "sessionbridge_upstream=false" in block]
    (table,) = [block for block in blocks(page, "toml") if "[models]" in block]
    (tmp_path / "models.toml").write_text(table)
    words = shlex.split(command.replace("\\\n", " "))
    shown = words[words.index("--mode") :]
    arguments = [word.replace("@8080", f"@{free_port()}") for word in shown]
    (snippet,) = blocks(page, "python")
    with (
        running_proxy(tmp_path, api.url, *arguments) as proxy,
        OpenAI(
            base_url=f"{proxy.url}/v1",
            api_key="any",
            max_retries=0,
            http_client=DefaultHttpxClient(trust_env=False),
        ) as client,
    ):
        listed = [model.id for model in client.models.list()]
        assert {"sonnet", "gpt-4o-mini"} <= set(listed) and "gpt-*" not in listed
        hello: Any = [{"role": "user", "content": "My name is Ivy. (readme)"}]
        completion = client.chat.completions.create(model="gpt-4.1", messages=hello)
        assert completion.choices[0].message.content == "Nice to meet you, Ivy!"
        assert "sonnet" in completion.model
        program = [sys.executable, "-c", snippet.replace(":8080", f":{proxy.ports[0]}")]
        done = subprocess.run(program, env=environment(tmp_path), capture_output=True, check=False)
        assert done.stdout == b"Nice to meet you, Ivy!", done.stderr


def test_the_benchmarks_keep_their_result_on_the_page_about_speed(tmp_path: Path) -> None:
    before, _, rest = SPEED.read_text("utf-8").partition("<!-- scripts/bench -->\n")
    after = rest.partition("<!-- end -->")[2]
    copy = tmp_path / SPEED.name
    shutil.copy(SPEED, copy)
    write([Figure("a turn", {"p50_ms": 1.5}, "≤ 2 ms", True)], {"cores": 2}, copy)
    kept = copy.read_text("utf-8")
    assert "| a turn | p50 ms 1.5 | ≤ 2 ms | yes |\n\nMachine: cores 2.\n" in kept
    assert kept.startswith(before) and kept.endswith(after) and before and after


def test_every_option_is_documented_with_its_default() -> None:
    page = (DOCS / "options.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(sessionbridge_\w+)` \| *`?([^`|]*?)`? *\|", page, re.M))
    with taddons.context() as context:
        options.add(Loader(context.master))
        listed = {
            name: option.default
            for name, option in context.options.items()
            if name.startswith("sessionbridge_")
        }
    assert rows.keys() == listed.keys()
    for name, default in listed.items():
        text = "~/.sessionbridge" if name.endswith("_home") else default
        written = str(text).lower() if isinstance(text, bool) else str(text or "")
        assert rows[name] == written, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(document: Path) -> None:
    links = local_links(document)
    assert links or document.name == "CHANGELOG.md"
    for path, anchor in links:
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_readme_leads_to_every_page() -> None:
    linked = {path for path, _ in local_links(README)}
    assert linked >= {f"docs/{page.name}" for page in DOCS.glob("*.md")}


def test_no_document_names_a_machine() -> None:
    for document in DOCUMENTS:
        assert os.sep + "root" + os.sep not in document.read_text("utf-8"), document
