"""The clients that are known by a token, of which only a hash is kept. A revoked one stays, so that
its token is told from a wrong one. Each function works within its caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sessionbridge.allowances import ClientRules
from sessionbridge.client_tokens import Token
from sessionbridge.sessions.store.engine import Database, first, insert_sql


@dataclass(frozen=True, slots=True)
class Client:
    """Times are epoch seconds; `revoked_at` is None while the token is good."""

    name: str
    token: Token
    created_at: float
    revoked_at: float | None
    rules: ClientRules


_READ = "SELECT name, id, token_hash, created_at, revoked_at, rules FROM clients"


def add(db: Database, client: Client) -> bool:
    """False where the name is taken, by a revoked one, too."""
    row = _row(client)
    sql = f"{insert_sql('clients', row)} ON CONFLICT (name) DO NOTHING RETURNING name"
    return bool(list(db.query(sql, row)))


def by_token(db: Database, id_: str) -> Client | None:
    """The one whose token has this id, whatever the rest of it is."""
    return _client(first(db, f"{_READ} WHERE id = :id", {"id": id_}))


def by_name(db: Database, name: str) -> Client | None:
    return _client(first(db, f"{_READ} WHERE name = :name", {"name": name}))


def all_of_them(db: Database) -> list[Client]:
    """By name."""
    rows = db.query(f"{_READ} ORDER BY name", {})
    return [client for row in rows if (client := _client(row))]


def are_there(db: Database) -> bool:
    """Revoked ones, too."""
    return first(db, "SELECT 1 FROM clients LIMIT 1", {}) is not None


def revoke(db: Database, name: str, now: float) -> bool:
    """False where nobody has this name. What was revoked before stays so since then."""
    sql = """
        UPDATE clients SET revoked_at = coalesce(revoked_at, :now)
        WHERE name = :name RETURNING name
    """
    return bool(list(db.query(sql, {"name": name, "now": now})))


def rotate(db: Database, name: str, token: Token) -> bool:
    """The client has this token from now on, also where it was revoked. False where nobody has this
    name."""
    sql = """
        UPDATE clients SET id = :id, token_hash = :token_hash, revoked_at = NULL
        WHERE name = :name RETURNING name
    """
    params = {"name": name, "id": token.id, "token_hash": token.hash}
    return bool(list(db.query(sql, params)))


def change_rules(db: Database, name: str, change: Callable[[ClientRules], ClientRules]) -> bool:
    """False where nobody has this name."""
    client = by_name(db, name)
    if client is None:
        return False
    rules = change(client.rules).model_dump_json(exclude_defaults=True)
    db.execute(
        "UPDATE clients SET rules = :rules WHERE name = :name", {"name": name, "rules": rules}
    )
    return True


def _row(client: Client) -> dict[str, Any]:
    return {
        "name": client.name,
        "id": client.token.id,
        "token_hash": client.token.hash,
        "created_at": client.created_at,
        "revoked_at": client.revoked_at,
        "rules": client.rules.model_dump_json(exclude_defaults=True),
    }


def _client(row: Mapping[str, Any] | None) -> Client | None:
    if row is None:
        return None
    return Client(
        row["name"],
        Token(row["id"], row["token_hash"]),
        row["created_at"],
        row["revoked_at"],
        ClientRules.model_validate_json(row["rules"]),
    )
