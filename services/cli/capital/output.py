"""Opens what the commands of `nija capital` ask, and prints their answers as one JSON object or as a table."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeVar

from pydantic import BaseModel

from services.cli import output
from services.cli.arguments import about, chosen_broker, reached_settings
from shared.config.capital import open_capital
from shared.domain.amounts import plain, round_down
from shared.queries.capital.accounts import choose_account
from shared.queries.capital.errors import NoSuchAccount, UnknownPair
from shared.queries.capital.models import with_numbers
from shared.queries.capital.sources import AccountName, CapitalSources

Answer = TypeVar("Answer")
Question = Callable[[CapitalSources, AccountName], Awaitable[Answer]]

_PLACES = Decimal("0.0001")


class Where(NamedTuple):
    """The options that choose the account, and the form of the output."""

    broker: str | None
    account: str | None
    as_json: bool


def ask(where: Where, question: Question[Answer]) -> tuple[AccountName, Answer]:
    """Ask one question about the chosen account. Raises NijaError."""
    broker = chosen_broker(where.broker)
    settings = reached_settings()

    async def asked() -> tuple[AccountName, Answer]:
        async with open_capital(settings) as sources:
            with about("--account", NoSuchAccount):
                name = await asyncio.to_thread(choose_account, sources.connections, broker, where.account)
            with about("SYMBOL", UnknownPair):
                return name, await question(sources, name)

    with output.progress("asking"):
        return asyncio.run(asked())


def in_thread(question: Callable[[CapitalSources, AccountName], Answer]) -> Question[Answer]:
    """A question that needs no market data, for `ask`."""

    async def asked(sources: CapitalSources, name: AccountName) -> Answer:
        return await asyncio.to_thread(question, sources, name)

    return asked


def print_json(name: AccountName, answer: BaseModel) -> None:
    """Print an answer with its account as one JSON object. Amounts are numbers, and times are ISO 8601 in UTC."""
    shown = with_numbers(answer)
    if not isinstance(shown, dict):
        raise TypeError(f"an answer is a {type(answer).__name__}")
    output.print_json({"broker": name.broker.value, "account": name.account, **shown})


def print_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values as a table of two columns."""
    output.console.print(title, style="italic")
    shown = output.table(header=False)
    output.text_columns(shown, "what", "value")
    for name, value in facts:
        shown.add_row(name, value)
    output.show(shown)


def titled(what: str, name: AccountName) -> str:
    """The title of a table about an account."""
    return f"{what} of {name.account} at {name.broker.value}"


def dollars(value: Decimal) -> str:
    """Money in cents."""
    return f"{value:,.2f}"


def short(value: Decimal | None) -> str:
    """A number with at most four places, cut."""
    if value is None:
        return "–"
    shown = plain(round_down(abs(value), _PLACES))
    return f"-{shown}" if value < 0 and shown != "0" else shown


def percent(value: Decimal | None) -> str:
    """A percentage."""
    return "–" if value is None else f"{short(value)} %"


def yes_or_no(value: bool) -> str:
    """A yes or a no."""
    return "yes" if value else "no"
