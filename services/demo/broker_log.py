"""Reads a paper broker's own logs and balances, and says what an execution moves. nija's ledger has no part in it."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, Protocol

import aiohttp

from services.demo.audit import BrokerFill
from shared.brokers.registry import profile_of
from shared.domain.amounts import Amount
from shared.domain.identity import Broker, FillId
from shared.domain.symbol import Symbol

_PAGE: Final = 5_000


class LoggedFill(BrokerFill):
    """An execution with everything that the log has of it. Quantities in base, costs in quote currency."""

    symbol: Symbol
    side: str
    price: Amount
    quantity: Amount
    cost: Amount
    fee: Amount
    fee_currency: str


class Trade(Protocol):
    """An execution or an order: what was traded, and its fee."""

    @property
    def symbol(self) -> Symbol: ...

    @property
    def side(self) -> str: ...

    @property
    def cost(self) -> Decimal: ...

    @property
    def fee(self) -> Decimal: ...

    @property
    def fee_currency(self) -> str: ...


def move(held: dict[str, Decimal], trade: Trade, quantity: Decimal) -> None:
    """Change what an account holds, by currency, by a trade of `quantity`."""
    sign = 1 if trade.side == "buy" else -1
    changes = ((trade.symbol.base, sign * quantity), (trade.symbol.quote, -sign * trade.cost))
    for currency, change in (*changes, (trade.fee_currency, -trade.fee)):
        if change:
            held[currency] = held.get(currency, Decimal(0)) + change


def id_in_log(broker: Broker, fill_id: FillId) -> str:
    """Return the id of a fill as the paper broker's log has it. There it never begins with the symbol."""
    return fill_id.rpartition("-")[2] if profile_of(broker).fill_ids_per_symbol else fill_id


async def read_log(session: aiohttp.ClientSession, name: str) -> list[dict[str, Any]]:
    """All rows of one of the paper broker's logs, `orders` or `fills`, oldest first."""
    rows: list[dict[str, Any]] = []
    while True:
        query = {"since_sequence": str(len(rows)), "limit": str(_PAGE)}
        async with session.get(f"/paper/{name}", params=query) as reply:
            reply.raise_for_status()
            page = (await reply.json())[name]
        rows.extend(page)
        if len(page) < _PAGE:
            return rows


async def read_balances(session: aiohttp.ClientSession, accounts: Iterable[str]) -> dict[str, Mapping[str, Decimal]]:
    """What these accounts hold now, by account and currency; locked quantities are included."""
    held: dict[str, Mapping[str, Decimal]] = {}
    for name in accounts:
        async with session.get(f"/paper/accounts/{name}") as reply:
            reply.raise_for_status()
            balances = (await reply.json())["balances"]
        held[name] = {currency: Decimal(each["total"]) for currency, each in balances.items()}
    return held
