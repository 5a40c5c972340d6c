"""Fixtures of the tests that use real parts: mitmdump, the Claude CLI, the scripted API."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

with warnings.catch_warnings():
    # mitmproxy 12.2 and what it imports call pyparsing and pyasn1 by their older names. It is
    # imported for that alone, before any test does.
    warnings.simplefilter("ignore", DeprecationWarning)
    import mitmproxy.test.taddons  # noqa: F401

from tests.support.postgres import Postgres, running_postgres
from tests.support.proxy import Proxy, running_proxy
from tests.support.scripted_api import ScriptedServer

# So that a bare assert in them says what it compared.
REWRITTEN = ("claude_cli", "live_processes", "tools_stage")
pytest.register_assert_rewrite(*(f"tests.support.{name}" for name in REWRITTEN))
pytest.register_assert_rewrite("tests.programs.place", "tests.programs.talks")

# How long an example takes is the machine's matter.
hypothesis.settings.register_profile("sessionbridge", deadline=None)
hypothesis.settings.load_profile("sessionbridge")


@pytest.fixture(scope="session")
def api() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def no_work_dirs_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Those of homes made for tests lie outside of the folder of the tests."""
    yield
    made_here = tmp_path_factory.getbasetemp().resolve()
    for home in Path("/var/tmp").glob("sessionbridge-*/home*"):
        if home.is_symlink() and home.readlink().is_relative_to(made_here):
            shutil.rmtree(home.parent)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_in_the_repository(pytestconfig: pytest.Config) -> Iterator[None]:
    """Where tests run, so that whatever has no folder of its own is written there."""
    before = _seen_in(pytestconfig.rootpath)
    yield
    assert _seen_in(pytestconfig.rootpath) <= before


def _seen_in(folder: Path) -> set[str]:
    """Without what tools keep for the next time."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.fixture(autouse=True)
def whole_requests(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test passes that has shown the model words nobody accounts for."""
    api = request.getfixturevalue("api") if "api" in request.fixturenames else None
    yield
    if isinstance(api, ScriptedServer):
        api.check()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    """One proxy for a whole file of tests; each test brings session ids of its own."""
    with running_proxy(tmp_path_factory.mktemp("proxy"), api.url) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of a new database of PostgreSQL's, with the password in it."""
    with postgres.database() as url:
        yield url
