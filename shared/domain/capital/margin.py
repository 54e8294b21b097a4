"""Assigns an account to a margin zone, and plans the automatic action of the zones ORANGE and RED.

GREEN below 50 % of the wallet, YELLOW from 50, ORANGE from 75, RED from 90. ORANGE reduces each position by 30 %. RED
closes the position with the lowest unrealized percentage, one at a time, until less than 75 % is used. Only positions
that nija opened are touched.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Instant, plain
from shared.domain.capital.arithmetic import NonNegative, Positive, checked, fixed_precision
from shared.domain.capital.facts import AccountFacts, HeldPosition
from shared.domain.fill import Side
from shared.domain.symbol import Symbol

YELLOW_FROM: Final = Decimal(50)
ORANGE_FROM: Final = Decimal(75)
RED_FROM: Final = Decimal(90)
REDUCTION: Final = Decimal("0.3")
REPEAT_AFTER: Final = timedelta(minutes=5)
"""The time between two reductions of one account."""


class MarginZone(StrEnum):
    """How much of the wallet is bound. A zone includes its lower bound."""

    GREEN = "GREEN_ZONE"
    YELLOW = "YELLOW_ZONE"
    ORANGE = "ORANGE_ZONE"
    RED = "RED_ZONE"


class ZoneAction(StrEnum):
    """What a zone demands."""

    NORMAL = "normal"
    NO_NEW_ENTRIES = "no new entries"
    REDUCE = "reduce"
    CLOSE = "close"


class MarginStatus(BaseModel):
    """The zone of an account and what follows from it."""

    model_config = ConfigDict(frozen=True)

    zone: MarginZone
    action: ZoneAction
    margin_used_pct: Decimal
    buffer_pct: Decimal | None
    """Points of the percentage up to the next zone; None in RED."""
    can_open_new: bool
    is_applicable: bool
    """False on a spot account, which uses no margin and is always GREEN."""


class PositionCut(BaseModel):
    """An order that makes a position smaller, or closes it."""

    model_config = ConfigDict(frozen=True)

    symbol: Symbol
    side: Side
    quantity: Positive


class MarginAction(BaseModel):
    """One round of automatic orders. The shell stores it before it sends an order."""

    model_config = ConfigDict(frozen=True)

    kind: ZoneAction
    started_at: Instant
    cuts: tuple[PositionCut, ...]
    is_final: bool = False
    """Whether every order of the round has ended."""

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders as text, such as "sell 0.3 BTC/USD"."""
        return tuple(f"{cut.side.value} {plain(cut.quantity)} {cut.symbol}" for cut in self.cuts)


class MarginActionState(BaseModel):
    """What the automatic action must remember across restarts."""

    model_config = ConfigDict(frozen=True)

    is_closing: bool = False
    """RED was entered, and the account has not been below 75 % since."""
    unsold: tuple[Symbol, ...] = ()
    """Positions of which the last closing orders executed nothing, oldest try first. RED closes the others first."""
    reduced_at: Instant | None = None
    """When the last reduction began. Rounds of RED may have come since."""
    last: MarginAction | None = None


def order_name(action: MarginAction, cut: PositionCut) -> str:
    """Return the name of an order of a round. It follows from the stored round, so each process gives it the same one."""
    milliseconds = int(action.started_at.timestamp() * 1000)
    return f"margin-{action.kind.value}-{milliseconds}-{cut.symbol.base}-{cut.symbol.quote}"


class MarginPlan(BaseModel):
    """The state to store, and the orders to send after that."""

    model_config = ConfigDict(frozen=True)

    state: MarginActionState
    cuts: tuple[PositionCut, ...] = ()


_ACTIONS = {
    MarginZone.GREEN: ZoneAction.NORMAL,
    MarginZone.YELLOW: ZoneAction.NO_NEW_ENTRIES,
    MarginZone.ORANGE: ZoneAction.REDUCE,
    MarginZone.RED: ZoneAction.CLOSE,
}
_UPPER_BOUND = {MarginZone.GREEN: YELLOW_FROM, MarginZone.YELLOW: ORANGE_FROM, MarginZone.ORANGE: RED_FROM}


def zone_of(margin_used_pct: NonNegative) -> MarginZone:
    """Return the zone for a use of margin in percent. Raises InvalidAmount for one below zero."""
    used = checked("margin_used_pct", margin_used_pct, least=0)
    if used >= RED_FROM:
        return MarginZone.RED
    if used >= ORANGE_FROM:
        return MarginZone.ORANGE
    return MarginZone.YELLOW if used >= YELLOW_FROM else MarginZone.GREEN


@fixed_precision
def margin_status(account: AccountFacts) -> MarginStatus:
    """Return the zone of an account, its action and the buffer to the next zone."""
    used = account.margin_used_pct
    zone = zone_of(used)
    bound = _UPPER_BOUND.get(zone)
    return MarginStatus(
        zone=zone,
        action=_ACTIONS[zone],
        margin_used_pct=used,
        buffer_pct=None if bound is None else bound - used,
        can_open_new=zone is MarginZone.GREEN,
        is_applicable=account.margin is not None,
    )


@fixed_precision
def plan_margin_action(state: MarginActionState, account: AccountFacts, now: datetime) -> MarginPlan:
    """Return what the monitor must do now, and the state to store before it does it.

    Nothing starts while an order of the last round is not final: its position would be cut twice. A reduction also
    waits five minutes after the one before, even if the account left the zone in between.
    """
    zone = zone_of(account.margin_used_pct)
    is_closing = zone is MarginZone.RED or (state.is_closing and zone is MarginZone.ORANGE)
    after = state.model_copy(update={"is_closing": is_closing, "unsold": state.unsold if is_closing else ()})
    last = state.last
    if last is not None and not last.is_final:
        return MarginPlan(state=after)
    if is_closing:
        return _start(after, ZoneAction.CLOSE, closing_cuts(account, state.unsold), now)
    if zone is MarginZone.ORANGE and not _is_recent_reduction(state, now):
        return _start(after, ZoneAction.REDUCE, reducing_cuts(account), now)
    return MarginPlan(state=after)


def is_demanded(action: MarginAction, account: AccountFacts, now: datetime) -> bool:
    """Whether an order of a round that was not sent yet may still be sent.

    A reduction is carried out whole, although its first orders may lead out of the zone. After five minutes, and for a
    position that RED closes, the present zone decides.
    """
    is_young_reduction = action.kind is ZoneAction.REDUCE and now - action.started_at < REPEAT_AFTER
    return is_young_reduction or account.margin_used_pct >= ORANGE_FROM


def with_final_orders(state: MarginActionState, unsold: Collection[Symbol] = ()) -> MarginActionState:
    """Return the state after every order of the last round has ended. `unsold`: those that executed nothing."""
    last = state.last
    if last is None:
        return state
    kept: tuple[Symbol, ...] = state.unsold
    if last.kind is ZoneAction.CLOSE:
        # A sale that went through makes room, so the others are tried again from the worst one on.
        kept = (*(each for each in state.unsold if each not in unsold), *unsold) if unsold else ()
    return state.model_copy(update={"last": last.model_copy(update={"is_final": True}), "unsold": kept})


@fixed_precision
def reducing_cuts(account: AccountFacts) -> tuple[PositionCut, ...]:
    """Return 30 % of each own position, rounded down to the lot. What is below the broker's minimum is left out."""
    cuts = (_cut(each, abs(each.quantity) * REDUCTION) for each in account.own_positions)
    return tuple(cut for cut in cuts if cut is not None)


@fixed_precision
def closing_cuts(account: AccountFacts, unsold: Sequence[Symbol] = ()) -> tuple[PositionCut, ...]:
    """Return the order that closes the worst own position; empty if none of them can be sold.

    The worst one has the lowest unrealized profit in percent. A position without a price cannot be compared. Those in
    `unsold` come last, in this order, so that a position that cannot be sold holds up no other one.
    """
    for position in _worst_first(account.own_positions, unsold):
        cut = _cut(position, abs(position.quantity))
        if cut is not None:
            return (cut,)
    return ()


def _worst_first(positions: Iterable[HeldPosition], unsold: Sequence[Symbol]) -> list[HeldPosition]:
    tried = {symbol: number for number, symbol in enumerate(unsold, start=1)}
    known = [
        (tried.get(each.instrument.symbol, 0), pct, each.instrument.symbol, each)
        for each in positions
        if (pct := each.unrealized_pct) is not None
    ]
    return [each for *_, each in sorted(known, key=lambda found: found[:3])]


def _cut(position: HeldPosition, quantity: Decimal) -> PositionCut | None:
    instrument = position.instrument
    rounded = instrument.rounded(quantity)
    if position.price is None or not instrument.is_orderable(rounded, position.price):
        return None
    return PositionCut(symbol=instrument.symbol, side=position.closing_side, quantity=rounded)


def _is_recent_reduction(state: MarginActionState, now: datetime) -> bool:
    return state.reduced_at is not None and now - state.reduced_at < REPEAT_AFTER


def _start(state: MarginActionState, kind: ZoneAction, cuts: tuple[PositionCut, ...], now: datetime) -> MarginPlan:
    """A round without orders is no round, so the next reading tries again."""
    if not cuts:
        return MarginPlan(state=state)
    reduced_at = now if kind is ZoneAction.REDUCE else state.reduced_at
    last = MarginAction(kind=kind, started_at=now, cuts=cuts)
    return MarginPlan(state=state.model_copy(update={"reduced_at": reduced_at, "last": last}), cuts=cuts)
