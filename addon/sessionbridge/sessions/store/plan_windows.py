"""How much of a login's windows has been used, a row for each: the newest that was told of it.

Each function works within its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.store.engine import Database, insert_sql

_MINUTE = 60
"""So far what is newer may come before what is older. What seems to be further ahead was told by a
clock that was."""

_FIELDS = tuple(PlanWindow.__dataclass_fields__)
_KEPT_SQL = f"""
    {insert_sql("plan_windows", dict.fromkeys(_FIELDS))}
    ON CONFLICT (provider, name) DO UPDATE SET status = excluded.status, used = excluded.used,
        resets_at = excluded.resets_at, told_at = excluded.told_at
    WHERE plan_windows.told_at <= excluded.told_at
        OR plan_windows.told_at > excluded.told_at + {_MINUTE}
"""


def keep(db: Database, windows: Iterable[PlanWindow]) -> None:
    db.execute_many(_KEPT_SQL, [asdict(window) for window in windows])


def windows(db: Database) -> list[PlanWindow]:
    """Of all providers, also those whose time is over."""
    sql = f"SELECT {', '.join(_FIELDS)} FROM plan_windows ORDER BY provider, name"
    return [PlanWindow(**row) for row in db.query(sql, {})]
