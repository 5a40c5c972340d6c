"""The session database."""

from __future__ import annotations

from pathlib import Path

from sessionbridge.cli.checks.finding import Finding, Status
from sessionbridge.sessions.store.sqlite.health import Health
from sessionbridge.sessions.store.sqlite.permissions import closed

_MEGABYTE = 1_000_000


def check_database(path: Path, health: Health | None) -> Finding:
    """The worst of what there is to say of it; `health` is None where there is no file."""
    if health is None:
        found = f"none yet at {path}; the first bridged turn makes it"
        return Finding("Database", "ok", found)
    size = f"{path}, {health.bytes / _MEGABYTE:.1f} MB"
    if shut := closed(path):
        names = ", ".join(map(str, shut))
        found = f"{size}: this user may not read and write {names}"
        return Finding("Database", "problem", found, "Give them to the user the proxy runs as.")
    if health.faults:
        advice = (
            "If it is corrupt, the bridge moves it aside at its next start and begins a new one; "
            "if it is another program's, move it away; if neither, see to its folder and disk."
        )
        return Finding("Database", "problem", f"{size}: {'; '.join(health.faults)}", advice)
    told = [(note, advice) for note, advice in _notes(path, health) if note]
    if not told:
        return Finding("Database", "ok", f"{size}, whole, {len(health.last_used)} conversations")
    status: Status = "problem" if health.mode & 0o077 or health.unknown else "warning"
    notes = "; ".join(note for note, _ in told)
    return Finding("Database", status, f"{size}: {notes}", " ".join(advice for _, advice in told))


def check_backup(last: tuple[float, str] | None, now: float) -> Finding:
    """`last` is when the last backup was made (epoch seconds), and where to."""
    if last is None:
        return Finding("Backup", "ok", "none yet; `sessionbridge backup FILE` makes one")
    made, file = last
    days = int((now - made) // 86_400)
    age = "today" if days < 1 else "yesterday" if days == 1 else f"{days} days ago"
    return Finding("Backup", "ok", f"the last was made {age}: {file}")


def _notes(path: Path, health: Health) -> list[tuple[str, str]]:
    open_to_others = f"others may read it (mode {health.mode:04o})" if health.mode & 0o077 else ""
    pending = f"{len(health.pending)} steps behind this version" if health.pending else ""
    unknown = f"written by a later version ({', '.join(health.unknown)})" if health.unknown else ""
    aside = f"{len(health.aside)} corrupt ones beside it" if health.aside else ""
    names = ", ".join(str(one) for one in health.aside)
    return [
        (open_to_others, f"chmod 600 {path}"),
        (pending, "Nothing to do: the next start brings it up to date."),
        (unknown, "Update sessionbridge: this version does not use it."),
        (aside, f"Look into or delete {names}, with the files of the same name beside each."),
    ]
