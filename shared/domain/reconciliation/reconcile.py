"""What an account really holds against what its follower should hold: readings and targets in, drift out. Pure.

A follower may hold more than was copied (coins of its own); what counts is coins that were copied and are not there.
It may have open orders of its own as well; what counts is an order of nija's that nija has done with.
Quantities are base currency.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant, plain
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.fill import Side
from shared.domain.identity import FollowerId
from shared.domain.symbol import Symbol

JUST_SETTLED = timedelta(seconds=60)
"""Brokers show executions late: after an order, balances of this long prove nothing."""


class WaitingOrder(BaseModel):
    """An order in a follower's mailbox; the first of them may be at the broker already."""

    model_config = ConfigDict(frozen=True)

    copy_order_id: str
    sequence: int
    symbol: Symbol
    side: Side
    stage: Literal["waiting", "submitting", "unknown", "accepted"] = "waiting"
    submitted_at: Instant | None = None


class OpenOrder(BaseModel):
    """An order that the broker lists as open, whoever placed it."""

    model_config = ConfigDict(frozen=True)

    broker_order_id: str
    client_order_id: str | None = None
    symbol: Symbol
    side: Side
    quantity: Amount
    filled_quantity: Amount = ZERO


class AccountReading(BaseModel):
    """One account as the worker that held its claim read it, with what the worker believes to be copied."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1, 2] = 2
    """1 does not tell open orders."""
    request_id: str
    follower_id: FollowerId
    read_at: Instant
    total: dict[str, Amount] = {}
    """Free + locked in open orders, per currency."""
    locked: dict[str, Amount] = {}
    """Locked in open orders, per currency; only what is not 0."""
    copied: dict[Symbol, CopiedPosition] = {}
    """By symbol."""
    waiting: tuple[WaitingOrder, ...] = ()
    mail: int = 0
    """Entries of the mailbox, those that cannot be read included."""
    open_orders: tuple[OpenOrder, ...] | None = None
    """None: not told, by a worker of version 1 or because the key may not list them."""
    adjusted: tuple[str, ...] = ()
    """Symbols whose copied position was lowered just now."""
    canceled: tuple[str, ...] = ()
    """Broker's ids of orders that were canceled just now; they are not among the open ones any more."""
    error: str = ""
    """Why the account was not read; empty: it was."""
    retry_after_seconds: float | None = None
    """Whether asking again may help, and when."""


class Target(BaseModel):
    """What the ledger says that a follower holds of copies in one symbol."""

    model_config = ConfigDict(frozen=True)

    follower_id: FollowerId
    symbol: Symbol
    quantity: Amount
    carried_exit: Amount
    sequence: int
    """Fill of the last order."""
    occurred_at: Instant
    """When that order was settled."""
    failed_exit: str | None = None
    """Why the last exit failed; None: it did not, or there was none."""


class CopyRecord(BaseModel):
    """What the ledger says of a copy order."""

    model_config = ConfigDict(frozen=True)

    copy_order_id: str
    follower_id: FollowerId
    sequence: int
    outcome: str
    """copied, skipped, failed or pending."""
    changed_at: Instant
    """When it ended; of a pending one: when it was decided."""


class Standing(StrEnum):
    """Whose business an open order is."""

    IN_FLIGHT = "in_flight"
    """A copy order that a mailbox waits for, or that was settled a moment ago."""
    STRAY = "stray"
    """A copy order that is final, or that no mailbox waits for."""
    OWN = "own"
    """The follower's; never touched."""


class Cause(StrEnum):
    """What a drift comes from, as far as it is known."""

    UNKNOWN_ORDER = "unknown_order"
    """Nobody knows yet what became of an order; it is looked up."""
    PENDING_MAIL = "pending_mail"
    """Orders are under way; what the account holds is about to change."""
    JUST_SETTLED = "just_settled"
    """An order was settled a moment ago; the broker may show it late."""
    NOT_IN_LEDGER = "not_in_ledger"
    """The worker's copied position is another one than the ledger's: events are on their way."""
    FAILED_EXIT = "failed_exit"
    """The last exit failed; the next one sells its part too."""
    MANUAL_SALE = "manual_sale"
    """Less is there than was copied, and nija did not sell it."""
    STRAY_ORDER = "stray_order"
    """An order of nija's is open at the broker, and nobody waits for it."""


_REPAIRABLE = frozenset({Cause.MANUAL_SALE, Cause.STRAY_ORDER})
_PASSES = frozenset({Cause.PENDING_MAIL, Cause.JUST_SETTLED})


class Drift(BaseModel):
    """One follower's symbol that is not as it should be."""

    model_config = ConfigDict(frozen=True)

    follower_id: FollowerId
    symbol: Symbol
    cause: Cause
    target: Amount
    """Copied, by the ledger."""
    real: Amount
    """How much of it the account holds; of an unknown order: all that it holds of the coin, the order's part or not."""
    drift: Amount
    """What is missing is below 0; what should have been sold is above."""
    sequence: int
    detail: str = ""
    broker_order_id: str = ""
    """Of a stray order."""
    copy_order_id: str = ""
    """Of a stray order."""

    @property
    def is_repairable(self) -> bool:
        """Whether lowering the copied position to what is there, or canceling the stray order, is right."""
        return self.cause in _REPAIRABLE

    @property
    def needs_attention(self) -> bool:
        """Whether it stays until somebody does something. Unknown orders have an alert of their own."""
        return self.cause not in _PASSES and self.cause is not Cause.UNKNOWN_ORDER


def covered(copied: Mapping[Symbol, Decimal], total: Mapping[str, Decimal]) -> dict[Symbol, Decimal]:
    """How much of each symbol's copied quantity the account's coins cover; never more than was copied.

    Symbols that share a coin (BTC/USD, BTC/USDT) are served in their order by name: a coin counts once.
    """
    left = dict(total)
    found: dict[Symbol, Decimal] = {}
    for symbol in sorted(copied):
        base = symbol.base
        found[symbol] = min(copied[symbol], max(left.get(base, ZERO), ZERO))
        left[base] = left.get(base, ZERO) - found[symbol]
    return found


def drifts(
    reading: AccountReading, targets: Iterable[Target], lots: Mapping[Symbol, Decimal], now: datetime
) -> list[Drift]:
    """Compare one follower's reading with its targets. `lots` by symbol: less than a lot is no drift."""
    by_symbol = {target.symbol: target for target in targets}
    wanted = _wanted(reading, by_symbol)
    found: list[Drift] = []
    for symbol, real in covered(wanted, reading.total).items():
        target = by_symbol.get(symbol)
        ours = [order for order in reading.waiting if order.symbol == symbol]
        missing = wanted[symbol] - real
        if missing > 0 and missing >= lots.get(symbol, ZERO):
            cause, detail = _why_missing(reading, symbol, target, ours, now)
            found.append(_drift(reading, symbol, target, cause, wanted[symbol], real, -missing, detail))
        elif any(order.stage == "unknown" for order in ours):
            detail, held = _unknown(ours), _held(reading, symbol)
            found.append(_drift(reading, symbol, target, Cause.UNKNOWN_ORDER, wanted[symbol], held, ZERO, detail))
        elif target is not None and target.failed_exit is not None and target.carried_exit > 0:
            detail = target.failed_exit
            owed = target.carried_exit
            found.append(_drift(reading, symbol, target, Cause.FAILED_EXIT, wanted[symbol], real, owed, detail))
    known = set(wanted)
    unknown = [order for order in reading.waiting if order.stage == "unknown" and order.symbol not in known]
    found += [
        _drift(
            reading,
            order.symbol,
            None,
            Cause.UNKNOWN_ORDER,
            ZERO,
            _held(reading, order.symbol),
            ZERO,
            _unknown([order]),
        )
        for order in unknown
    ]
    return found


def standing(order: OpenOrder, reading: AccountReading, copies: Mapping[str, CopyRecord], now: datetime) -> Standing:
    """Whose business an open order of the reading is. `copies`: what the ledger knows, by copy order id."""
    name = order.client_order_id
    if name in {mail.copy_order_id for mail in reading.waiting}:
        return Standing.IN_FLIGHT
    copy = copies.get(name) if name else None
    # Two followers may share an account; each one's orders are its own business.
    if copy is None or copy.follower_id != reading.follower_id:
        return Standing.OWN
    # Mail that is not told may be this very order; and what has just ended may be shown as open for a moment.
    if reading.mail > len(reading.waiting) or now - copy.changed_at < JUST_SETTLED:
        return Standing.IN_FLIGHT
    return Standing.STRAY


def stray_orders(
    reading: AccountReading, targets: Iterable[Target], copies: Mapping[str, CopyRecord], now: datetime
) -> list[Drift]:
    """The open orders that nija placed and has done with. Nothing of them is counted as drift in coins."""
    by_symbol = {target.symbol: target for target in targets}
    wanted = _wanted(reading, by_symbol)
    real = covered(wanted, reading.total)
    found: list[Drift] = []
    for order in reading.open_orders or ():
        if order.client_order_id is None or standing(order, reading, copies, now) is not Standing.STRAY:
            continue
        copy = copies[order.client_order_id]
        filled = f", {plain(order.filled_quantity)} of it filled" if order.filled_quantity else ""
        found.append(
            Drift(
                follower_id=reading.follower_id,
                symbol=order.symbol,
                cause=Cause.STRAY_ORDER,
                target=wanted.get(order.symbol, ZERO),
                real=real.get(order.symbol, ZERO),
                drift=ZERO,
                sequence=copy.sequence,
                detail=f"{order.side} {plain(order.quantity)}{filled}, order {order.broker_order_id}; "
                f"the copy of fill {copy.sequence} is {copy.outcome}",
                broker_order_id=order.broker_order_id,
                copy_order_id=copy.copy_order_id,
            )
        )
    return found


def _wanted(reading: AccountReading, by_symbol: Mapping[Symbol, Target]) -> dict[Symbol, Decimal]:
    """Copied quantity by symbol: the ledger's, and the worker's where the ledger has none."""
    wanted = {symbol: target.quantity for symbol, target in by_symbol.items()}
    return wanted | {symbol: held.quantity for symbol, held in reading.copied.items() if symbol not in wanted}


def _held(reading: AccountReading, symbol: Symbol) -> Decimal:
    """What the account has of the symbol's coin, copied or not."""
    return reading.total.get(symbol.base, ZERO)


def _why_missing(
    reading: AccountReading, symbol: Symbol, target: Target | None, ours: Sequence[WaitingOrder], now: datetime
) -> tuple[Cause, str]:
    if any(order.stage == "unknown" for order in ours):
        return Cause.UNKNOWN_ORDER, _unknown(ours)
    # Mail that cannot be read may be about any symbol.
    if ours or reading.mail > len(reading.waiting):
        return Cause.PENDING_MAIL, f"{len(ours) or reading.mail} orders wait"
    believed = reading.copied.get(symbol)
    if target is None or (believed.quantity if believed else ZERO) != target.quantity:
        return Cause.NOT_IN_LEDGER, "the ledger is behind, or Redis"
    if now - target.occurred_at < JUST_SETTLED:
        return Cause.JUST_SETTLED, f"the order of fill {target.sequence}"
    return Cause.MANUAL_SALE, "sold, moved or paid away outside nija"


def _unknown(orders: Sequence[WaitingOrder]) -> str:
    order = next(order for order in orders if order.stage == "unknown")
    since = f" since {order.submitted_at:%Y-%m-%d %H:%M:%S} UTC" if order.submitted_at else ""
    return f"{order.side} of fill {order.sequence}, order {order.copy_order_id}{since}"


def _drift(
    reading: AccountReading,
    symbol: Symbol,
    target: Target | None,
    cause: Cause,
    wanted: Decimal,
    real: Decimal,
    drift: Decimal,
    detail: str,
) -> Drift:
    return Drift(
        follower_id=reading.follower_id,
        symbol=symbol,
        cause=cause,
        target=wanted,
        real=real,
        drift=drift,
        sequence=target.sequence if target else 0,
        detail=detail,
    )
