"""`sessionbridge doctor` as a whole; each of its checks has a file of its own."""

from __future__ import annotations

import re

import pytest

from tests.support.doctor_fixtures import Place, ca, place

__all__ = ["ca", "place"]

CHECKS = (
    *(
        "Python",
        "mitmproxy",
        "Addon",
        "Claude CLI",
        "Claude login",
        "Turn settings",
        "CA",
        "Port",
        "Other machines",
        "Loop guard",
    ),
    *("Retention", "Database", "Backup"),
)


@pytest.fixture(autouse=True)
def real_addon(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH")


def test_all_in_order_ends_with_0_and_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(place.ca))
    found = place.findings()
    assert tuple(found) == CHECKS
    assert {row["status"] for row in found.values()} == {"ok"}
    assert not place.home.exists()


def test_the_table_can_be_read_without_colours(place: Place) -> None:
    result = place.run()
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    for check in CHECKS:
        (line,) = [line for line in result.stdout.splitlines() if line.startswith(f"│ {check} ")]
        assert re.search("│ (ok|warning|problem) ", line)
    assert "→ Where clients use the regular proxy" in result.stdout
