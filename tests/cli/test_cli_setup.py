"""`sessionbridge setup`: the files of programs are changed where they must be, and nowhere else."""

from __future__ import annotations

import difflib
import io
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import assume, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sessionbridge.cli.main import cli
from sessionbridge.cli.setup.jsonc import with_value
from sessionbridge.cli.setup.programs import PROGRAMS
from sessionbridge.cli.setup.yaml_lists import with_entry
from tests.support.documents import PLATFORMS, blocks

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


# What each has before, in the forms that people write.
QWEN_CODE = """\
{
  // Mine
  "model": {"name": "qwen3-coder-plus"},
  "modelProviders": {
    "openai": [{"id": "own", "envKey": "OWN"}], // as ever
  },
}
"""
CLINE = json.dumps(
    {
        "version": 1,
        "lastUsedProvider": "cline",
        "modes": {"voiceInput": {"providerId": "cline", "modelId": "x"}},
        "providers": {"cline": {"settings": {"provider": "cline"}, "tokenSource": "oauth"}},
    },
    indent=2,
)
PI = '{"providers": {"own": {"baseUrl": "http://x", "models": []}}}'
LLM = """\
# Mine
- model_id: own   # odd   blanks
  model_name: "x"
  headers:
      X-Own: 'yes'

"""
CONTINUE = """\
%YAML 1.1
---
name:   Mine
version: 0.0.1
models:   # mine
    - name: own
      provider:  openai
      model: x

    - {uses: some/model}
rules:
- "Be kind"
"""
OPENCLAW = """\
// Mine
{
  agents: {defaults: {model: {primary: 'own/x', fallbacks: ['own/y']}, workspace: "~/w"}},
  $schema: 'x', gateway: {port: +18789, ratio: .5, 'key\\'s': 0xFF,},
}
"""
BEFORE = {
    "codex": CODEX,
    "opencode": OPENCODE,
    "kilo": OPENCODE,
    "qwen-code": QWEN_CODE,
    "cline": CLINE,
    "pi": PI,
    "llm": LLM,
    "continue": CONTINUE,
    "openclaw": OPENCLAW,
}
VARIABLES = [
    *("XDG_CONFIG_HOME", "CODEX_HOME", "QWEN_HOME", "PI_CODING_AGENT_DIR", "LLM_USER_PATH"),
    *("CLINE_PROVIDER_SETTINGS_PATH", "CLINE_DATA_DIR", "CLINE_DIR", "CONTINUE_GLOBAL_DIR"),
    *("OPENCLAW_CONFIG_PATH", "OPENCLAW_STATE_DIR"),
]
"""By which programs are told of another place."""

WENT = {
    "codex": ['model = "gpt-5"   # the best'],
    "opencode": ['\t"model": "own/x"'],
    "kilo": ['\t"model": "own/x"'],
    "qwen-code": ['  "model": {"name": "qwen3-coder-plus"},'],
    "cline": ['  "lastUsedProvider": "cline",'],
    "llm": [],
    "continue": [],
    "openclaw": [OPENCLAW.splitlines()[2]],
}
"""The lines that are changed. A file that is all on one line has one."""


class User:
    def __init__(self, home: Path) -> None:
        self.home = home

    def file(self, name: str) -> Path:
        """That which is written where there is none."""
        return PROGRAMS[name].places(self.home, {})[0]

    def writes(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())

    def run(self, *words: str, says: str = "y\n") -> Result:
        command = ["--home", str(self.home / "bridge"), "setup", *words]
        return CliRunner().invoke(cli, command, input=says)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return User(tmp_path)


def changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """The lines that went and the lines that came."""
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return tuple([line[2:] for line in lines if line[0] == mark] for mark in "-+")  # type: ignore[return-value]


def test_codex_is_changed_after_its_change_was_shown(user: User) -> None:
    user.writes(user.file("codex"), CODEX)
    done = user.run("codex", "--port", "1", says="n\n")
    assert '+model = "sonnet"   # the best' in done.output and "Change it?" in done.output
    assert user.file("codex").read_text() == CODEX
    done = user.run("codex", "--port", "1")
    assert done.exit_code == 0 and "No bridge answers at port 1 yet" in done.output
    went, came = changed(CODEX, user.file("codex").read_text())
    assert went == ['model = "gpt-5"   # the best']
    assert came[0] == 'model = "sonnet"   # the best'
    assert "Nothing to change" in user.run("codex", "--port", "1").output


def read(name: str, text: str) -> Any:
    """As the program would."""
    if name == "codex":
        return tomllib.loads(text)
    if name in ("llm", "continue"):
        return YAML(typ="safe", pure=True).load(text)
    if name == "openclaw":
        text = re.sub(r"(?<=[{,\s])([$\w]+)(?=: )", r'"\1"', text)
        text = text.replace(r"'key\'s'", '"key\'s"').replace("'", '"').replace('key"s', "key's")
        text = text.replace("+18789", "18789").replace(".5", "0.5").replace("0xFF", "255")
    text = re.sub(r"^\s*//.*|/\*.*?\*/|(?<=[,}\]]) // .*", "", text, flags=re.M)
    return json.loads(re.sub(r",(\s*[}\]])", r"\1", text))


def leaves(document: Any) -> dict[tuple[str, ...], Any]:
    """By path; a list is one of them."""
    if not isinstance(document, dict):
        return {(): document}
    inner = {name: leaves(value) for name, value in document.items()}
    return {(name, *path): value for name, below in inner.items() for path, value in below.items()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_else_is_changed(user: User, name: str) -> None:
    """Neither in what the program reads nor in how it is written."""
    user.writes(user.file(name), BEFORE[name])
    assert user.run(name, "--yes", says="").exit_code == 0
    after = user.file(name).read_text()
    if name in WENT:
        assert changed(BEFORE[name], after)[0] == WENT[name]
    values = PROGRAMS[name].values("http://127.0.0.1:8080")
    found, had = read(name, after), read(name, BEFORE[name])
    if name == "llm":
        assert found == [values[()], *had]
    elif name == "continue":
        assert found == had | {"models": [values[("models",)], *had["models"]]}
    else:
        wanted = {
            (*path, *below): leaf
            for path, value in values.items()
            for below, leaf in leaves(value).items()
        }
        assert leaves(found) == leaves(had) | wanted
    assert "Nothing to change" in user.run(name).output


@pytest.mark.parametrize("name", ["codex", "qwen-code", "openclaw"])
def test_it_is_what_the_page_shows(user: User, name: str) -> None:
    (page, *_) = blocks(PLATFORMS / f"{name}.md", "toml" if name == "codex" else "json")
    user.run(name)
    shown = re.sub(r":808\d", ":8080", page)
    assert read(name, user.file(name).read_text()) == read(name, shown)


def test_openclaws_model_may_be_a_word(user: User) -> None:
    file = user.file("openclaw")
    user.writes(file, "{agents: {defaults: {model: 'own/x'}}}\n")
    user.run("openclaw")
    assert file.read_text().startswith('{agents: {defaults: {model: "bridge/sonnet"}}, "models": {')
    user.writes(file, "{agents: 'none'}\n")
    assert "agents is no object" in user.run("openclaw", "--port", "1").output


@pytest.mark.parametrize(
    ("name", "text", "after"),
    [
        ("llm", "[]\n", '[{"k": "new"}]\n'),
        ("llm", "- [k, old]\n", None),
        ("llm", "k: old\n", None),
        ("llm", "# only this", "# only this\n- k: new\n"),
        ("llm", "- k: new\n  a: 1 # one\n\n# two\n- k: x\n", "- k: new # one\n\n# two\n- k: x\n"),
        ("continue", "a: 1", "a: 1\nmodels:\n  - k: new\n"),
        ("continue", "models:\na: 1\n", None),
        ("continue", "models:\n- k: x\n", "models:\n- k: new\n- k: x\n"),
        ("continue", "models: [{k: x}] # one\n", 'models: [{"k": "new"}, {k: x}] # one\n'),
        ("continue", "{a: 1}\n", None),
        ("continue", "models: none\n", None),
        ("continue", "a: 1\n...\n", None),
        ("continue", "a: [\n", None),
    ],
)
def test_an_entry_of_a_list_in_yaml(name: str, text: str, after: str | None) -> None:
    listed = None if name == "llm" else "models"
    if after is None:
        with pytest.raises(ValueError, match="YAML|is no list"):
            with_entry(text, listed, {"k": "new"}, "k")
    else:
        assert with_entry(text, listed, {"k": "new"}, "k") == after


@pytest.mark.parametrize("name", PROGRAMS)
def test_undo_puts_back_what_was_there(user: User, name: str) -> None:
    file = user.file(name)
    assert "There is no copy" in user.run(name, "--undo").output
    assert f"{PROGRAMS[name].then}\nNo bridge answers" in user.run(name).output
    assert "http://127.0.0.1:8080" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert user.run(name, "--undo").output.endswith(f"Removed: {file}\n")
    assert not file.exists()
    before = BEFORE[name]
    user.writes(file, before)
    file.chmod(0o640)
    user.run(name)
    user.run(name, "--port", "2")  # the older copy stays
    assert "127.0.0.1:2" in file.read_text() and "127.0.0.1:8080" not in file.read_text()
    assert user.run(name, "--undo", says="n\n").exit_code == 0
    assert "127.0.0.1:2" in file.read_text()
    user.run(name, "--undo")
    assert file.read_text() == before
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_what_was_edited_since_is_kept_beside_it(user: User) -> None:
    file = user.file("codex")
    user.run("codex")
    edited = file.read_text() + "\n[profiles.mine]\n"
    file.write_text(edited)
    said = user.run("codex", "--undo").output
    aside = file.with_name(f"{file.name}.before-undo")
    assert str(aside) in said and not file.exists()
    assert aside.read_text() == edited
    assert aside.stat().st_mode & 0o777 == 0o600


def test_so_is_what_was_edited_between_two_changes(user: User) -> None:
    """And no copy of before is written over."""
    file = user.file("codex")
    for number, name in enumerate([".before-undo", ".before-undo-2", ".before-undo-3"]):
        user.writes(file, CODEX)
        user.run("codex")
        file.write_text(file.read_text() + f"\n[profiles.mine{number}]\n")
        user.run("codex", "--port", "9000")
        user.run("codex", "--undo")
        assert file.read_text() == CODEX
        aside = file.with_name(f"{file.name}{name}")
        assert f"[profiles.mine{number}]" in aside.read_text()


@pytest.mark.parametrize("text", ["{", "[]", '{"before": null}'])
def test_a_copy_that_cannot_be_read_is_told(user: User, text: str) -> None:
    user.run("codex")
    (copy,) = (user.home / "bridge" / "setup").iterdir()
    copy.write_text(text)
    for words in (["--undo"], ["--port", "9000"]):
        result = user.run("codex", *words)
        assert result.exit_code == 1 and f"The copy {copy} cannot be read" in result.output
    assert "127.0.0.1:8080" in user.file("codex").read_text()


def test_the_copy_is_for_its_owner_alone(user: User) -> None:
    user.writes(user.file("codex"), CODEX)
    user.run("codex")
    (copy,) = (user.home / "bridge" / "setup").iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600 and copy.parent.stat().st_mode & 0o077 == 0


def test_the_file_that_is_there_is_the_one(user: User) -> None:
    jsonc = user.file("opencode").with_suffix(".jsonc")
    user.writes(jsonc, OPENCODE.replace("\n", "\r\n"))
    user.run("opencode")
    assert not user.file("opencode").exists()
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
        ("opencode", "{'a': 1}", "line 1 is no JSON"),
        ("qwen-code", "{a: 1}", "line 1 is no JSON"),
        ("openclaw", "{a-b: 1}", "line 1 is no JSON"),
        ("openclaw", "{a: yes}", "line 1 is no JSON"),
        ("llm", "- [", "no YAML that can be changed"),
        ("continue", "models: none", "models is no list of entries"),
    ],
)
def test_what_cannot_be_read_is_left(user: User, name: str, text: str, said: str) -> None:
    file = user.file(name)
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


names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=4)
plain = st.none() | st.booleans() | st.integers() | st.text(max_size=9)


@given(
    before=st.dictionaries(names, plain | st.lists(plain, max_size=2), max_size=3),
    entries=st.lists(st.dictionaries(names, plain | st.lists(plain), min_size=1), max_size=3),
    after=st.dictionaries(names, plain, max_size=2),
    place=st.none() | st.integers(0, 3),
    indent=st.sampled_from([(2, 0), (4, 2), (7, 3)]),
    flow=st.booleans(),
)
def test_an_entry_in_yaml_moves_nothing_else(
    before: dict[str, Any],
    entries: list[dict[str, Any]],
    after: dict[str, Any],
    place: int | None,
    indent: tuple[int, int],
    flow: bool,
) -> None:
    """What another writer than ours has written, with a comment behind each line that can have
    one, and the entry itself at a place or not there yet."""
    ours = {"name": "ours", "url": "http://127.0.0.1:1/v1"}
    if place is not None:
        entries.insert(place, {"name": "ours", "url": "old"})
    whole = {**before, "models": entries, **{f"z{name}": value for name, value in after.items()}}
    yaml = YAML(pure=True)
    yaml.default_flow_style, yaml.width = flow or None, 4096
    yaml.indent(sequence=indent[0], offset=indent[1])
    stream = io.StringIO()
    yaml.dump(whole, stream)
    text = stream.getvalue().replace("\n", "\n# mine\n")
    read = YAML(typ="safe", pure=True).load
    assume(read(text) == whole)  # a comment in a text of more than one line is none
    found = with_entry(text, "models", ours, "name")
    kept = [one for one in entries if one.get("name") != "ours"]
    kept.insert(min(place or 0, len(kept)), ours)
    assert read(found) == {**whole, "models": kept}
    went, _ = changed(text, found)
    assert len(went) <= (1 if flow or not entries or place is not None else 0)
