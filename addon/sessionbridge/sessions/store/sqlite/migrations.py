"""The shape of the session database, one numbered step after another.

A step that has been released is never edited: databases out there have run it. A change is a new
step at the end. A database with steps of a later version is not used: what those have changed
nobody here can know.
"""

from __future__ import annotations

from contextlib import closing
from functools import cache

from sqlite_utils import Database, Migrations

from sessionbridge.sessions.store.ledger import KEY

migrations = Migrations("sessionbridge")

_KEY_COLUMNS = dict.fromkeys(KEY, str)


@migrations()
def m001_session_map(db: Database) -> None:
    columns = {
        **_KEY_COLUMNS,
        "internal_id": str,
        "created_at": float,
        "last_used_at": float,
        "metadata": str,
    }
    table = db.table("session_map")
    table.create(columns, pk=KEY, not_null=columns)
    table.create_index(["internal_id"])


@migrations()
def m002_turns(db: Database) -> None:
    columns = {
        "id": int,
        **_KEY_COLUMNS,
        "internal_id": str,
        "parent_id": int,
        "ask_hash": str,
        "history_hash": str,
        "tip_uuid": str,
        "response_id": str,
        "idempotency_key": str,
        "plan": str,
        "reason": str,
        "status": str,
        "api": str,
        "model": str,
        "input_tokens": int,
        "output_tokens": int,
        "cache_creation_input_tokens": int,
        "cache_read_input_tokens": int,
        "cost_usd": float,
        "started_at": float,
        "ttft_ms": int,
        "duration_ms": int,
    }
    unknown = {"parent_id", "response_id", "idempotency_key", "cost_usd", "ttft_ms"}
    table = db.table("turns")
    table.create(columns, pk="id", not_null=[name for name in columns if name not in unknown])
    table.create_index(["internal_id", "id"])
    table.create_index(["started_at"])


@migrations()
def m003_points(db: Database) -> None:
    columns = {
        **_KEY_COLUMNS,
        "hash": str,
        "internal_id": str,
        "entry_uuid": str,
        "turn_id": int,
    }
    # The primary key's own index begins with the key and the hash, which is how points are looked
    # up, so no second one is kept. The entry belongs to it: one hash can be reached in two ways.
    place = (*KEY, "hash", "internal_id", "entry_uuid")
    db.table("points").create(columns, pk=place, not_null=columns)


@migrations()
def m004_turns_by_key(db: Database) -> None:
    # The row's id is the end of every index, so a key's newest turn is found at once.
    db.table("turns").create_index([*KEY])


@migrations()
def m005_processes(db: Database) -> None:
    db.table("turns").add_column("process", str)


@migrations()
def m006_turns_by_what_they_said(db: Database) -> None:
    # The first finds the turn that a client's tool results belong to, the second the one that a
    # request of the Responses API goes on from.
    table = db.table("turns")
    table.create_index(["history_hash"])
    table.create_index(["response_id"])


@migrations()
def m007_manners(db: Database) -> None:
    # How a turn was asked, by which side calls are told from the conversation; null before.
    table = db.table("turns")
    table.add_column("settings_hash", str)
    table.add_column("model_asked", str)


@migrations()
def m008_cache_writes_for_an_hour(db: Database) -> None:
    # How many of `cache_creation_input_tokens`; null before, and then taken for none.
    db.table("turns").add_column("cache_creation_1h_input_tokens", int)


@migrations()
def m009_turns_that_said_nothing(db: Database) -> None:
    # Null before; of those turns only the ones that were given results have a status for it.
    db.table("turns").add_column("unsaid", int)


@migrations()
def m010_callers(db: Database) -> None:
    # Whose response it is, as a hash of credentials; null before.
    db.table("turns").add_column("caller", str)


@migrations()
def m011_names_of_turns(db: Database) -> None:
    # By which a turn is known wherever it is noted, whatever number it has there.
    table = db.table("turns")
    table.add_column("name", str)
    db.execute("UPDATE turns SET name = lower(hex(randomblob(16)))")
    table.create_index(["name"])


@migrations()
def m012_sketches_of_settings(db: Database) -> None:
    # By which a prompt that is nearly the one before is told from that of a side call; null before.
    db.table("turns").add_column("settings_sketch", str)


@migrations()
def m013_clients(db: Database) -> None:
    # Who is known by a token, of which only a hash is kept; and whose a turn was, null where nobody
    # was known so.
    columns = {
        "name": str,
        "id": str,
        "token_hash": str,
        "created_at": float,
        "revoked_at": float,
        "rules": str,
    }
    needed = [name for name in columns if name != "revoked_at"]
    table = db.table("clients")
    table.create(columns, pk="name", not_null=needed)
    table.create_index(["id"], unique=True)
    db.table("turns").add_column("client", str)


@migrations()
def m014_spending(db: Database) -> None:
    # What counts against budgets: an estimate until the turn has ended.
    columns = {
        "id": int,
        "client": str,
        "provider": str,
        "started_at": float,
        "until": float,
        "cost_usd": float,
        "tokens": int,
    }
    table = db.table("spending")
    needed = [name for name in columns if name != "until"]
    table.create(columns, pk="id", not_null=needed)
    table.create_index(["client", "started_at"])
    table.create_index(["provider", "started_at"])


@migrations()
def m015_plan_windows(db: Database) -> None:
    # How much of a login's windows has been used, as the CLI told it last.
    columns = {
        "provider": str,
        "name": str,
        "status": str,
        "used": float,
        "resets_at": float,
        "told_at": float,
    }
    needed = ("provider", "name", "status", "told_at")
    db.table("plan_windows").create(columns, pk=("provider", "name"), not_null=needed)


def later(db: Database) -> tuple[str, ...]:
    """The steps that a later version has done."""
    ours = _ours()
    return tuple(step.name for step in migrations.applied(db) if step.name not in ours)


@cache
def _ours() -> frozenset[str]:
    with closing(Database(memory=True, execute_plugins=False)) as empty:  # all is yet to be done
        return frozenset(step.name for step in migrations.pending(empty))
