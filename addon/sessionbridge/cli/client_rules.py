"""What a client may use: the options that say it, and showing how much of it is used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, get_args

import click
from pydantic import ValidationError

from sessionbridge.allowances import Budget, ClientRules, Per
from sessionbridge.cli.tables import BUDGET_HEADINGS, budget_cells, print_table
from sessionbridge.sessions.store.spending import Limited, Use

_BUDGETS = tuple(f"{unit}/{per}" for unit in ("usd", "tokens") for per in get_args(Per))
_FIELDS = {
    "turns-a-minute": "turns_a_minute",
    "turns-at-once": "turns_at_once",
    "providers": "providers",
}

without_option = click.option(
    "--without",
    type=click.Choice([*_BUDGETS, *_FIELDS]),
    multiple=True,
    help="Take this away first; more than one may be given.",
)


def _usd(value: str) -> Budget:
    return _budget("usd", value, "5/day")


def _tokens(value: str) -> Budget:
    return _budget("tokens", value, "1000000/week")


def _budget(unit: str, value: str, example: str) -> Budget:
    amount, _, per = value.partition("/")
    try:
        return Budget.model_validate({unit: amount, "per": per})
    except ValidationError:
        raise click.BadParameter(
            f"{value!r} is not an amount for a day, week or month, such as {example}."
        ) from None


def rules_options[F: Callable[..., Any]](command: F) -> F:
    """As `told`, for `changed`."""
    options = (
        click.option(
            "--usd",
            type=_usd,
            multiple=True,
            metavar="N/PER",
            help="US dollars a day, week or month, such as 5/day; more than one may hold.",
        ),
        click.option(
            "--tokens",
            type=_tokens,
            multiple=True,
            metavar="N/PER",
            help="Tokens read and written, such as 1000000/week.",
        ),
        click.option(
            "--turns-a-minute", type=click.IntRange(1), help="Turns it may begin in a minute."
        ),
        click.option("--turns-at-once", type=click.IntRange(1), help="Turns it may have going."),
        click.option(
            "--provider",
            "providers",
            multiple=True,
            metavar="NAME",
            help="A provider that its requests may name; more than one may be given.",
        ),
        click.option(
            "--fallback/--no-fallback",
            default=None,
            help="Whether another provider may answer where its own cannot.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def changed(
    rules: ClientRules,
    *,
    usd: Sequence[Budget],
    tokens: Sequence[Budget],
    no_limits: bool = False,
    without: Collection[str] = (),
    **told: Any,
) -> ClientRules:
    """What is not told stays. A budget takes the place of the one in its unit for the same time."""
    if no_limits:
        rules = ClientRules(providers=rules.providers, fallback=rules.fallback)
    rules = _less(rules, without)
    budgets = {(one.unit, one.per): one for one in (*rules.budgets, *usd, *tokens)}
    given = {name: value for name, value in told.items() if value not in (None, ())}
    return rules.model_copy(update={"budgets": tuple(budgets.values()), **given})


def _less(rules: ClientRules, without: Collection[str]) -> ClientRules:
    kept = tuple(one for one in rules.budgets if f"{one.unit}/{one.per}" not in without)
    fields = {_FIELDS[name] for name in without if name in _FIELDS}
    taken = {name: ClientRules.model_fields[name].default for name in fields}
    return rules.model_copy(update={"budgets": kept, **taken})


def print_use(limited: Limited, use: Use) -> None:
    if use.budgets:
        print_table(*BUDGET_HEADINGS, [budget_cells(one) for one in use.budgets])
    else:
        click.echo(f"{limited.name} has no budget.")
    rates = limited.allowance
    click.echo(f"Turns in the last minute: {use.lately}{_of(rates.turns_a_minute)}")
    click.echo(f"Turns under way: {use.at_once}{_of(rates.turns_at_once)}")


def _of(most: int | None) -> str:
    return "" if most is None else f" of {most}"
