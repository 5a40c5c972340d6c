"""What `sessionbridge doctor` says of mitmproxy's own configuration file."""

from __future__ import annotations

import pytest

from tests.support.doctor_fixtures import Place, ca, place

__all__ = ["ca", "place"]

KEY = "sk-ant-which-nobody-may-see"
OPEN = "sessionbridge_allow_remote: true\n"
CLOSED = "sessionbridge_allow_remote: false\n"
WITH_KEY = f"sessionbridge_claude_env:\n  - ANTHROPIC_API_KEY={KEY}\n"
BY_NAME = "sessionbridge_claude_env: [ANTHROPIC_API_KEY]\n"


def write(place: Place, name: str, content: str, mode: int = 0o644) -> None:
    file = place.confdir / name
    file.write_text(content)
    file.chmod(mode)


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({}, "ok"),
        ({"config.yaml": ""}, "ok"),
        ({"config.yaml": CLOSED}, "ok"),
        ({"config.yaml": OPEN}, "warning"),
        ({"config.yml": OPEN}, "warning"),
        ({"config.yaml": OPEN, "config.yml": CLOSED}, "ok"),
        ({"config.yaml": CLOSED, "config.yml": OPEN}, "warning"),
        ({"config.yaml": "a: [\n"}, "warning"),
        ({"config.yaml": "a list is none\n"}, "warning"),
    ],
)
def test_whether_other_machines_are_let_in(
    place: Place, files: dict[str, str], status: str
) -> None:
    for name, content in files.items():
        write(place, name, content)
    finding = place.findings()["Other machines"]
    assert finding["status"] == status
    if OPEN in files.values() and status == "warning":
        assert "a client's token" in finding["found"]
    if status == "ok":
        assert "is started with are not seen here" in finding["found"]


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (WITH_KEY, 0o644, True),
        (WITH_KEY, 0o640, True),
        (WITH_KEY, 0o600, False),
        (BY_NAME, 0o644, False),
        ("sessionbridge_claude_env: 7\n", 0o644, False),
    ],
)
def test_a_key_that_others_may_read(place: Place, content: str, mode: int, told: bool) -> None:
    write(place, "config.yaml", content, mode)
    findings = place.findings()
    assert ("Secrets" in findings) == told
    assert KEY not in str(findings)
    if told:
        assert findings["Secrets"]["advice"] == f"chmod 600 {place.confdir / 'config.yaml'}"


def test_a_variable_for_the_cli_that_has_no_name_is_told(place: Place) -> None:
    write(place, "config.yaml", f"sessionbridge_claude_env: ['={KEY}']", 0o600)
    found = place.findings()["Claude login"]
    assert (found["status"], "'' is not the name" in found["found"]) == ("problem", True)
    assert KEY not in str(found)
