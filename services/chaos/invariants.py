"""Checks the promises one by one against the evidence of a run, and returns the violations. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from services.demo.audit import BrokerOrder
from services.demo.broker_log import move
from services.demo.right_copies import SpecialResult
from shared.domain.amounts import ZERO
from shared.domain.cash import is_cash
from shared.domain.copying.reasons import FailReason
from shared.domain.identity import FollowerId
from shared.persistence.reports.reports import CopyLine, PositionLine

SHOWN = 5
"""How many examples a report shows."""


class Evidence(NamedTuple):
    """Everything that was found at one broker when the system had settled."""

    followers: Mapping[str, int]
    """By follower, the last fill before it joined."""
    master_fills: frozenset[str]
    """Ids of the fills in the master's account, by the broker's log."""
    ledger_fills: Mapping[str, int]
    """By fill id, its sequence in the ledger."""
    copies: Sequence[CopyLine]
    finals: Mapping[str, int]
    """By copy order, the number of its final states."""
    orders: Sequence[BrokerOrder]
    """Orders of followers, in the order in which the broker accepted them."""
    positions: Sequence[PositionLine]
    redis_positions: Mapping[tuple[FollowerId, str], Decimal]
    """By follower and asset."""
    mailboxes: Mapping[str, int]
    """By follower, the length of each mailbox that is not empty."""
    dead_letters: int
    nonces: Mapping[str, Sequence[int]]
    """By key, the accepted nonces in the order of acceptance."""
    lots: Mapping[str, Decimal]
    """By asset, the smallest difference that counts. Less cannot be sold, or cannot be distinguished."""
    highest_prices: Mapping[int, Decimal]
    """By fill, the highest price at which a follower may buy."""
    asleep: Sequence[str] = ()
    """Followers that had mail at some time, but were neither ready nor claimed."""
    special: Mapping[str, SpecialResult] = {}
    """By special follower, how its copies ended, and which of them are not right for it."""
    own_coins_sold: Mapping[str, str] = {}
    """By follower, what happened to coins of its own."""


class Found(NamedTuple):
    """The violations by invariant, with examples, and the figures that are needed most."""

    violations: Mapping[str, tuple[int, tuple[str, ...]]]
    duplicates: int
    missing: int
    unresolved: int


def check(seen: Evidence) -> Found:
    """Check every invariant."""
    ordered = {copy.copy_order_id: copy for copy in seen.copies if copy.skip_reason is None}
    doubled = _one_order(seen, ordered)
    missing = _none_missing(seen, ordered)
    pending = [f"{copy.follower_id} fill {copy.sequence}" for copy in ordered.values() if copy.outcome is None]
    broken = {
        "at most one broker order per fill and follower": doubled,
        "every master fill and every follower of it is decided": missing,
        "no order is left without a final state": pending,
        "exactly one final state each": [f"{name}: {count}" for name, count in seen.finals.items() if count != 1],
        "orders per follower in the order of the fills": _in_order(seen, ordered),
        "no open is sent without its price limit": _limits(seen, ordered),
        "no open is refused for its price or size": [
            f"{copy.follower_id} fill {copy.sequence}"
            for copy in ordered.values()
            if copy.side == "buy" and copy.reason == FailReason.REJECTED
        ],
        "executed quantities as the ledger says": _quantities(seen, ordered),
        "positions as the ledger says": _positions(seen, ordered),
        "followers as they are: each copy is right": [
            line for result in seen.special.values() for line in result.wrong
        ],
        "own coins are never sold": [f"{name}: {what}" for name, what in seen.own_coins_sold.items()],
        "mailboxes are empty": [f"{name}: {length}" for name, length in seen.mailboxes.items()],
        "no wake-up lost": [*seen.asleep],
        "nothing in a dead-letter stream": [f"{seen.dead_letters} entries"] if seen.dead_letters else [],
        "nonces only grow": _nonces(seen),
    }
    violations = {name: (len(examples), tuple(examples[:SHOWN])) for name, examples in broken.items()}
    return Found(violations, len(doubled), len(missing), len(pending))


def _one_order(seen: Evidence, ordered: Mapping[str, CopyLine]) -> list[str]:
    executed = Counter(order.client_order_id for order in seen.orders if order.filled > ZERO)
    return [
        f"{name}: executed {count} times" if name in ordered else f"{name}: the ledger knows no such order"
        for name, count in executed.items()
        if count > 1 or name not in ordered
    ]


def _none_missing(seen: Evidence, ordered: Mapping[str, CopyLine]) -> list[str]:
    missing = [f"master fill {fill_id}" for fill_id in seen.master_fills if fill_id not in seen.ledger_fills]
    decided: dict[int, list[str]] = defaultdict(list)
    for copy in seen.copies:
        decided[copy.sequence].append(copy.follower_id)
    for sequence in seen.ledger_fills.values():
        wanted = {follower for follower, joined in seen.followers.items() if joined < sequence}
        missing += [f"{follower} fill {sequence}" for follower in wanted.difference(decided[sequence])]
    at_broker = {order.client_order_id for order in seen.orders}
    missing += [name for name, copy in ordered.items() if copy.outcome == "copied" and name not in at_broker]
    return missing


def _in_order(seen: Evidence, ordered: Mapping[str, CopyLine]) -> list[str]:
    newest: dict[str, int] = defaultdict(int)
    wrong = []
    for order in seen.orders:
        copy = ordered.get(order.client_order_id or "")
        if copy is None or order.filled == ZERO:
            continue
        if copy.sequence < newest[copy.follower_id]:
            wrong.append(f"{copy.follower_id}: fill {copy.sequence} after {newest[copy.follower_id]}")
        newest[copy.follower_id] = max(newest[copy.follower_id], copy.sequence)
    return wrong


def _limits(seen: Evidence, ordered: Mapping[str, CopyLine]) -> list[str]:
    wrong = []
    for order in seen.orders:
        copy = ordered.get(order.client_order_id or "")
        if copy is None or order.side != "buy":
            continue
        highest = seen.highest_prices[copy.sequence]
        if order.limit_price is None or order.limit_price > highest:
            wrong.append(f"{copy.follower_id} fill {copy.sequence}: sent up to {order.limit_price}, limit {highest}")
    return wrong


def _quantities(seen: Evidence, ordered: Mapping[str, CopyLine]) -> list[str]:
    filled: dict[str, Decimal] = defaultdict(Decimal)
    for order in seen.orders:
        filled[order.client_order_id or ""] += order.filled
    return [
        f"{name}: {copy.filled_quantity} in the ledger, {filled[name]} at the broker"
        for name, copy in ordered.items()
        if copy.outcome is not None and copy.filled_quantity != filled[name]
    ]


def _positions(seen: Evidence, ordered: Mapping[str, CopyLine]) -> list[str]:
    """Compare positions by the broker's log, the ledger and Redis. Less than a lot cannot be sold, so it is ignored."""
    copied: dict[FollowerId, dict[str, Decimal]] = defaultdict(dict)
    for order in seen.orders:
        copy = ordered.get(order.client_order_id or "")
        if copy is not None:
            theirs = copied[copy.follower_id]
            move(theirs, order, order.filled)
            for asset, quantity in theirs.items():
                is_rest = order.side == "sell" and asset == copy.symbol.base and abs(quantity) < seen.lots[asset]
                is_fee_only = asset not in copy.symbol.currencies
                if is_rest or is_cash(asset) or (is_fee_only and quantity < 0):
                    theirs[asset] = ZERO
    held = {(name, asset): quantity for name, theirs in copied.items() for asset, quantity in theirs.items()}
    booked = {(line.follower_id, line.asset): line.quantity for line in seen.positions}
    wrong = []
    for key in held.keys() | booked.keys() | seen.redis_positions.keys():
        by_log, by_ledger, by_redis = held.get(key, ZERO), booked.get(key, ZERO), seen.redis_positions.get(key, ZERO)
        difference = abs(by_log - by_ledger)
        if (difference and difference >= seen.lots.get(key[1], ZERO)) or by_ledger != by_redis:
            wrong.append(f"{key[0]} {key[1]}: broker {by_log}, ledger {by_ledger}, redis {by_redis}")
    return wrong


def _nonces(seen: Evidence) -> list[str]:
    return [
        f"key {number}: {later} after {earlier}"
        for number, nonces in enumerate(seen.nonces.values(), start=1)
        for earlier, later in pairwise(nonces)
        if later <= earlier
    ]
