"""`sessionbridge setup`: the files of programs are changed where they must be, and nowhere else."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.cli.main import cli
from sessionbridge.cli.setup.jsonc import with_value
from sessionbridge.cli.setup.programs import PROGRAMS
from tests.support.documents import blocks
from tests.support.proxy import ROOT

CODEX = """\
# Mine, and in an order of my own
model = "gpt-5"   # the best
approval_policy = "never"

[ tools ]
web = { search = true }  # odd   blanks
"""
OPENCODE = """\
{
\t// Mine
\t"theme": "dark", /* as ever */
\t"provider": {
\t\t"own": {"npm": "x", "options": {}}, // one
\t},
\t"model": "own/x"
}
"""


class User:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.codex = home / ".codex" / "config.toml"
        self.opencode = home / ".config" / "opencode" / "opencode.json"
        self.kilo = home / ".config" / "kilo" / "kilo.json"

    def writes(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())

    def run(self, *words: str, says: str = "y\n") -> Result:
        command = ["--home", str(self.home / "bridge"), "setup", *words]
        return CliRunner().invoke(cli, command, input=says)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)
    return User(tmp_path)


def changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """The lines that went and the lines that came."""
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return tuple([line[2:] for line in lines if line[0] == mark] for mark in "-+")  # type: ignore[return-value]


def test_codex_is_changed_after_its_change_was_shown(user: User) -> None:
    user.writes(user.codex, CODEX)
    done = user.run("codex", "--port", "1", says="n\n")
    assert '+model = "sonnet"   # the best' in done.output and "Change it?" in done.output
    assert user.codex.read_text() == CODEX
    done = user.run("codex", "--port", "1")
    assert done.exit_code == 0 and "No bridge answers at port 1 yet" in done.output
    went, came = changed(CODEX, user.codex.read_text())
    assert went == ['model = "gpt-5"   # the best']
    assert came[0] == 'model = "sonnet"   # the best'
    (page,) = blocks(ROOT / "addon" / "platforms" / "codex.md", "toml")
    wanted = tomllib.loads(page.replace(":8081", ":1"))
    assert tomllib.loads(user.codex.read_text()) == tomllib.loads(CODEX) | wanted
    assert "Nothing to change" in user.run("codex", "--port", "1").output


def test_opencode_keeps_its_comments(user: User) -> None:
    user.writes(user.opencode, OPENCODE)
    assert user.run("opencode", "--yes", says="").exit_code == 0
    went, came = changed(OPENCODE, user.opencode.read_text())
    assert (went, came[-1]) == (['\t"model": "own/x"'], '\t"model": "bridge/sonnet"')
    read = json.loads(
        user.opencode.read_text()
        .replace("// Mine", "").replace("/* as ever */", "").replace("// one", "")
        .replace("},\n\t},", "}\n\t},")
    )  # fmt: skip
    assert read["provider"]["bridge"]["options"]["baseURL"] == "http://127.0.0.1:8080/v1"
    assert read["provider"]["own"] == {"npm": "x", "options": {}}


@pytest.mark.parametrize("name", PROGRAMS)
def test_undo_puts_back_what_was_there(user: User, name: str) -> None:
    file: Path = getattr(user, name)
    assert "There is no copy" in user.run(name, "--undo").output
    user.run(name)
    assert "127.0.0.1:8080" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert user.run(name, "--undo").output.endswith(f"Removed: {file}\n")
    assert not file.exists()
    before = CODEX if name == "codex" else OPENCODE
    user.writes(file, before)
    file.chmod(0o640)
    user.run(name)
    user.run(name, "--port", "2")  # the older copy stays
    assert ":2/v1" in file.read_text()
    assert user.run(name, "--undo", says="n\n").exit_code == 0
    assert ":2/v1" in file.read_text()
    user.run(name, "--undo")
    assert file.read_text() == before
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_the_copy_is_for_its_owner_alone(user: User) -> None:
    user.writes(user.codex, CODEX)
    user.run("codex")
    (copy,) = (user.home / "bridge" / "setup").iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600 and copy.parent.stat().st_mode & 0o077 == 0


def test_the_file_that_is_there_is_the_one(user: User) -> None:
    jsonc = user.opencode.with_suffix(".jsonc")
    user.writes(jsonc, OPENCODE.replace("\n", "\r\n"))
    user.run("opencode")
    assert not user.opencode.exists()
    text = jsonc.read_bytes()
    assert b"bridge/sonnet" in text and text.count(b"\r\n") == text.count(b"\n")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("codex", "model = ", "no TOML that can be changed"),
        ("codex", 'model_providers = "none"\n', "no TOML that can be changed"),
        ("opencode", '{"model": x}', "line 1 is no JSON"),
        ("opencode", '{\n  "a": 1\n  "b": 2\n}', "line 3 is no JSON"),
        ("opencode", '{"a": 1', "ends too early"),
        ("opencode", '{"provider": []}', "provider is no object"),
        ("opencode", "[]", "the whole is no object"),
    ],
)
def test_what_cannot_be_read_is_left(user: User, name: str, text: str, said: str) -> None:
    file: Path = getattr(user, name)
    user.writes(file, text)
    done = user.run(name)
    assert done.exit_code == 1 and said in done.output, done.output
    assert file.read_text() == text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(
    whole=st.dictionaries(st.text(max_size=4), values),
    path=st.lists(st.text(max_size=4), min_size=1, max_size=3),
    value=values,
    indent=st.sampled_from([None, 2, "\t"]),
)
def test_a_value_is_set_as_json_would_have_it(
    whole: dict[str, object], path: list[str], value: object, indent: int | str | None
) -> None:
    text = json.dumps(whole, indent=indent)
    here: object = whole
    for name in path[:-1]:
        here = here.setdefault(name, {}) if isinstance(here, dict) else here
    if not isinstance(here, dict):
        with pytest.raises(ValueError, match="is no object"):
            with_value(text, path, value)
        return
    here[path[-1]] = value
    assert json.loads(with_value(text, path, value)) == whole
