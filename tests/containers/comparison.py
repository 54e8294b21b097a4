"""Compares what a master did with what its followers did, by nothing but the paper broker's own logs.

nija's ledger has no part in it: what nija believes is compared with these logs elsewhere. Every follower of these
tests can pay for every copy, so each execution on the master's account is one execution on each follower's account.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount

TOLERANCE = Decimal("0.03")
"""Prices move between the master's fill and its copies, and lots are rounded down."""


class Execution(BaseModel):
    """One execution as the broker's log has it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    client_order_id: str | None
    symbol: str
    side: str
    quantity: Amount
    executed_at: int
    """Microseconds since 1970."""


def executions(rows: Iterable[Mapping[str, Any]]) -> list[Execution]:
    """Read the broker's log of fills."""
    return [Execution.model_validate(row) for row in rows]


def compare(done: Sequence[Execution], master: str, shares: Mapping[str, Decimal]) -> list[str]:
    """List what is missing, doubled or of a wrong quantity; an empty list means that every copy is right.

    `done`: the log, oldest first. `shares`: by follower, its equity divided by the master's.
    """
    by_account: dict[tuple[str, str], list[Execution]] = defaultdict(list)
    for each in _orders(done, master):
        by_account[each.account, each.symbol].append(each)
    symbols = {symbol for account, symbol in by_account if account == master}
    wrong = [
        f"{account} {symbol}: the master never traded it" for account, symbol in by_account if symbol not in symbols
    ]
    wrong += _doubled(done, master)
    for symbol in sorted(symbols):
        for follower, share in shares.items():
            wrong += _differences(by_account[master, symbol], by_account[follower, symbol], share, follower)
    strangers = {account for account, _ in by_account} - shares.keys() - {master}
    return wrong + [f"{account} is no follower and traded" for account in sorted(strangers)]


def _orders(done: Sequence[Execution], master: str) -> list[Execution]:
    """The executions, with those of one copy order added up: a copy may be executed in parts."""
    whole: dict[tuple[str, str], Execution] = {}
    for number, each in enumerate(done):
        part_of = f"execution {number}" if each.account == master or not each.client_order_id else each.client_order_id
        key = each.account, part_of
        before = whole[key].quantity if key in whole else ZERO
        whole[key] = each.model_copy(update={"quantity": before + each.quantity})
    return list(whole.values())


def _doubled(done: Sequence[Execution], master: str) -> list[str]:
    accounts: dict[str, set[str]] = defaultdict(set)
    nameless: Counter[str] = Counter()
    for each in done:
        if each.account != master and each.client_order_id:
            accounts[each.client_order_id].add(each.account)
        elif each.account != master:
            nameless[each.account] += 1
    wrong = [f"order {name} is on several accounts: {who}" for name, who in accounts.items() if len(who) > 1]
    return wrong + [f"{account}: {times} executions without nija's order id" for account, times in nameless.items()]


def _differences(wanted: Sequence[Execution], copied: Sequence[Execution], share: Decimal, follower: str) -> list[str]:
    for number, (fill, copy) in enumerate(zip_longest(wanted, copied), start=1):
        if copy is None:
            return [f"{follower} {wanted[0].symbol}: {len(copied)} copies of {len(wanted)} fills; missing: {number}"]
        if fill is None:
            return [f"{follower} {copy.symbol}: {len(copied)} copies of {len(wanted)} fills; too many: {number}"]
        right = fill.quantity * share
        if copy.side != fill.side or abs(copy.quantity - right) > right * TOLERANCE:
            return [
                f"{follower} {fill.symbol}, fill {number}: {copy.side} {copy.quantity} where {fill.side} {right:f} is right"
            ]
    return []
