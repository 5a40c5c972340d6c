"""`sessionbridge clients`: who may use the bridge, each known by a token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from sessionbridge.allowances import ClientRules
from sessionbridge.cli.client_rules import changed, print_use, rules_options, without_option
from sessionbridge.cli.ordered import OrderedGroup
from sessionbridge.cli.tables import (
    chosen_place,
    iso,
    local,
    opened_store,
    print_json,
    print_table,
    read_store,
)
from sessionbridge.client_tokens import PREFIX, made
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.reports import spending
from sessionbridge.sessions.store.clients import Client
from sessionbridge.sessions.store.engine import PATIENCE
from sessionbridge.sessions.store.spending import Limited
from sessionbridge.sessions.store.store import SessionStore

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _checked(context: click.Context, parameter: click.Parameter, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise click.BadParameter("1 to 64 of letters, digits, '.', '_' and '-'.")
    return name


_name = click.argument("name", callback=_checked)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@click.group(cls=OrderedGroup, epilog="Example: sessionbridge clients add ci-bot")
def clients() -> None:
    """The clients that are known by a token.

    Each has conversations of its own. A token is sent in the place of the API's key."""


@clients.command(epilog="Example: sessionbridge clients add ci-bot --usd 5/day")
@_name
@rules_options
@_as_json
@click.pass_obj
def add(home: Path, /, name: str, as_json: bool, **told: Any) -> None:
    """Add one, and print its token.

    The token is shown this once: only a hash of it is kept."""
    text, token = made()
    with _made_store(home) as store:
        if not store.add_client(name, token, changed(ClientRules(), **told)):
            raise click.ClickException(
                f"There is a client {name!r} already; `sessionbridge clients rotate {name}` gives "
                "it a new token."
            )
    _tell(name, text, as_json=as_json)


@clients.command("list", epilog="Example: sessionbridge clients list --json")
@_as_json
@click.pass_obj
def list_(home: Path, as_json: bool) -> None:
    """List the clients, those that were revoked too."""
    found = read_store(chosen_place(home), SessionStore.clients, quiet=as_json)
    if as_json:
        print_json([_document(client) for client in found])
    elif found:
        print_table(("Name", "Token", "Added", "Revoked"), (), [_cells(one) for one in found])


@clients.command(epilog="Example: sessionbridge clients revoke ci-bot")
@_name
@click.pass_obj
def revoke(home: Path, name: str) -> None:
    """Refuse its token from now on.

    Its conversations stay; `rotate` gives it a new token to go on with."""
    with opened_store(chosen_place(home)) as store:
        if store is None or not store.revoke_client(name):
            raise _unknown(name)
    click.echo(f"The token of {name} is refused from now on.")


@clients.command(epilog="Example: sessionbridge clients rotate ci-bot")
@_name
@_as_json
@click.pass_obj
def rotate(home: Path, name: str, as_json: bool) -> None:
    """Give it a new token, and print that.

    The one before is refused from now on. Its conversations go on."""
    text, token = made()
    with opened_store(chosen_place(home)) as store:
        if store is None or not store.rotate_client(name, token):
            raise _unknown(name)
    _tell(name, text, as_json=as_json)


@clients.command("set", epilog="Example: sessionbridge clients set ci-bot --usd 5/day")
@_name
@rules_options
@without_option
@click.option("--no-limits", is_flag=True, help="Take all budgets and rates away first.")
@click.pass_obj
def set_(home: Path, /, name: str, **told: Any) -> None:
    """Change what it may use.

    What no option names stays as it is. Holds from its next request on; turns under way finish."""
    with opened_store(chosen_place(home)) as store:
        if store is None or not store.change_rules(name, lambda rules: changed(rules, **told)):
            raise _unknown(name)


@clients.command(epilog="Example: sessionbridge clients show ci-bot")
@_name
@_as_json
@click.pass_obj
def show(home: Path, name: str, as_json: bool) -> None:
    """Show what it may use, and how much of that is left.

    A turn that is under way counts for what it may use."""
    with opened_store(chosen_place(home)) as store:
        client = store.client(name) if store else None
        if store is None or client is None:
            raise _unknown(name)
        limited = Limited("client", name, client.rules)
        use = store.use(limited)
    if as_json:
        print_json({**_document(client), **spending.document(limited, use)})
        return
    print_use(limited, use)
    if client.rules.providers:
        click.echo(f"May name the providers: {', '.join(client.rules.providers)}")
    if not client.rules.fallback:
        click.echo("No other provider answers for its own.")
    if client.revoked_at is not None:
        click.echo(f"Its token was revoked on {local(client.revoked_at)}.")


@contextmanager
def _made_store(home: Path) -> Iterator[SessionStore]:
    """Clients may be there before the first turn."""
    place = chosen_place(home)
    try:
        with closing(place), closing(place.store(None, PATIENCE)) as store:
            yield store
    except StoreUnavailable as error:
        raise click.ClickException(error.message) from error


def _unknown(name: str) -> click.ClickException:
    return click.ClickException(f"No client is called {name!r}; see `sessionbridge clients list`.")


def _tell(name: str, token: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "token": token})
        return
    click.echo(token)
    click.echo(
        f"This is the token of {name}. Keep it: it is not shown again, and only its hash is kept.",
        err=True,
    )


def _document(client: Client) -> dict[str, Any]:
    return {
        "name": client.name,
        "id": client.token.id,
        "created_at": iso(client.created_at),
        "revoked_at": None if client.revoked_at is None else iso(client.revoked_at),
        "rules": client.rules.model_dump(mode="json", exclude_defaults=True),
    }


def _cells(client: Client) -> tuple[str, ...]:
    revoked = "" if client.revoked_at is None else local(client.revoked_at)
    return client.name, f"{PREFIX}{client.token.id}-…", local(client.created_at), revoked
