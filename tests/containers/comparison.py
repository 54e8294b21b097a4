"""Compares what a master did with what its followers did, by nothing but the paper broker's own logs.

What nija believes is compared with these logs elsewhere. Every follower of these tests can pay for every copy, so each
execution on the master's account is one execution on each follower's account. There is one exception: a purchase that
was skipped because Redis was replaced and the master had sold meanwhile. The caller names those.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount

TOLERANCE = Decimal("0.03")
"""Prices move between the master's fill and its copies, and lots are rounded down."""
FULL_EXIT: Final = Decimal("0.01")
"""A sale that leaves less than this share of the position before it sells all of it. A fee in the coin leaves so little."""
Skipped = Mapping[tuple[str, str], Collection[int]]
"""By follower and symbol, the numbers of the master's fills that were rightly not copied. The first has the number 1."""


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


class _Right(NamedTuple):
    """What a follower should have executed for the master's fill of that number."""

    number: int
    side: str
    quantity: Decimal


def compare(
    done: Sequence[Execution], master: str, shares: Mapping[str, Decimal], skipped: Skipped | None = None
) -> list[str]:
    """List what is missing, doubled or of a wrong quantity; an empty list means that every copy is right.

    `done`: the log, oldest first. `shares`: by follower, its equity divided by the master's.
    """
    skipped = skipped or {}
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
            right = _right_copies(by_account[master, symbol], share, skipped.get((follower, symbol), ()))
            wrong += _differences(right, by_account[follower, symbol], f"{follower} {symbol}")
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


def _right_copies(fills: Sequence[Execution], share: Decimal, skipped: Collection[int]) -> list[_Right]:
    """Opens by the follower's share; exits sell the part of the follower's position that the master sold of its own."""
    of_master = of_follower = ZERO
    right: list[_Right] = []
    for number, fill in enumerate(fills, start=1):
        if fill.side == "buy":
            of_master += fill.quantity
            quantity = ZERO if number in skipped else fill.quantity * share
            of_follower += quantity
        else:
            is_full = of_master - fill.quantity < of_master * FULL_EXIT
            quantity = of_follower if is_full else of_follower * fill.quantity / of_master
            of_master = ZERO if is_full else of_master - fill.quantity
            of_follower -= quantity
        if quantity:
            right.append(_Right(number, fill.side, quantity))
    return right


def _differences(right: Sequence[_Right], copied: Sequence[Execution], where: str) -> list[str]:
    for wanted, copy in zip_longest(right, copied):
        if copy is None:
            return [f"{where}: {len(copied)} copies where {len(right)} are right; fill {wanted.number} has none"]
        if wanted is None:
            return [f"{where}: {len(copied)} copies where {len(right)} are right"]
        if copy.side != wanted.side or abs(copy.quantity - wanted.quantity) > wanted.quantity * TOLERANCE:
            done = f"{copy.side} {copy.quantity}"
            return [f"{where}, fill {wanted.number}: {done} where {wanted.side} {wanted.quantity:f} is right"]
    return []
