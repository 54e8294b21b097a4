"""Summarizes the snapshots of an account: growth, extremes, trend and volatility of its equity."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Instant
from shared.domain.capital.arithmetic import HUNDRED, Signed, checked, cut_cents, fixed_precision
from shared.domain.capital.facts import AccountFacts
from shared.domain.capital.margin import MarginZone, margin_status
from shared.domain.capital.state import CapitalStatus, capital_state
from shared.domain.capital.volatility import standard_deviation

SNAPSHOT_EVERY: Final = timedelta(seconds=30)
KEPT_FOR: Final = timedelta(days=8)
MOST_HOURS: Final = 168
MOST_POINTS: Final = 500
TREND_PCT: Final = Decimal(2)
_HOUR_SECONDS = 3_600


class EquityTrend(StrEnum):
    """Where equity went over the whole time; less than 2 % either way is flat."""

    UP = "UP"
    DOWN = "DOWN"
    FLAT = "FLAT"


class CapitalSnapshot(BaseModel):
    """An account at one moment, as the monitor stores it."""

    model_config = ConfigDict(frozen=True)

    at: Instant
    equity: Signed
    available: Signed
    margin_used_pct: Decimal
    unrealized: Signed
    zone: MarginZone
    status: CapitalStatus


class CapitalHistory(BaseModel):
    """The snapshots of some hours. Figures are None when there are too few snapshots for them."""

    model_config = ConfigDict(frozen=True)

    points: tuple[CapitalSnapshot, ...]
    """At most 500, or as many as were asked for, spread evenly over the snapshots; the first and the last are among them. Money is cut to cents."""
    first: Decimal | None
    last: Decimal | None
    peak: Decimal | None
    lowest: Decimal | None
    growth_pct: Decimal | None
    trend: EquityTrend
    volatility_pct: Decimal | None
    """Standard deviation of hourly log returns, in percent."""


@fixed_precision
def snapshot_of(account: AccountFacts) -> CapitalSnapshot:
    """Return what the monitor stores of an account."""
    state = capital_state(account)
    return CapitalSnapshot(
        at=account.read_at,
        equity=account.equity,
        available=state.available_balance,
        margin_used_pct=state.margin_used_pct,
        unrealized=state.unrealized_pnl,
        zone=margin_status(account).zone,
        status=state.capital_status,
    )


@fixed_precision
def history(
    snapshots: Sequence[CapitalSnapshot], hours: int, now: datetime, most_points: int = MOST_POINTS
) -> CapitalHistory:
    """Summarize the snapshots of the last `hours` (1 to 168), with at most `most_points` (2 or more) of them.

    Raises InvalidAmount for another number of hours.
    """
    checked("hours", Decimal(hours), least=1, most=MOST_HOURS)
    since = now - timedelta(hours=hours)
    chosen = sorted((each for each in snapshots if since <= each.at <= now), key=lambda each: each.at)
    equities = [each.equity for each in chosen]
    growth = _growth(equities)
    return CapitalHistory(
        points=tuple(
            each.model_copy(update={"equity": cut_cents(each.equity)}) for each in thinned(chosen, most_points)
        ),
        first=cut_cents(equities[0]) if equities else None,
        last=cut_cents(equities[-1]) if equities else None,
        peak=cut_cents(max(equities)) if equities else None,
        lowest=cut_cents(min(equities)) if equities else None,
        growth_pct=growth,
        trend=trend_of(growth),
        volatility_pct=_hourly_volatility(chosen),
    )


def thinned(snapshots: Sequence[CapitalSnapshot], most: int = MOST_POINTS) -> list[CapitalSnapshot]:
    """Return at most `most` (2 or more) of the snapshots, evenly spread, with the first and the last."""
    count = len(snapshots)
    if count <= most:
        return list(snapshots)
    return [snapshots[index * (count - 1) // (most - 1)] for index in range(most)]


def trend_of(growth_pct: Decimal | None) -> EquityTrend:
    """Return the trend of a growth; unknown growth is flat."""
    if growth_pct is None or abs(growth_pct) <= TREND_PCT:
        return EquityTrend.FLAT
    return EquityTrend.UP if growth_pct > 0 else EquityTrend.DOWN


def is_kept(snapshot: CapitalSnapshot, now: datetime) -> bool:
    """Whether a snapshot is still stored."""
    return now - snapshot.at <= KEPT_FOR


def _growth(equities: Sequence[Decimal]) -> Decimal | None:
    """Return the growth in percent; None without a first equity that could grow."""
    if not equities or equities[0] <= 0:
        return None
    return (equities[-1] - equities[0]) / equities[0] * HUNDRED


def _hourly_volatility(snapshots: Sequence[CapitalSnapshot]) -> Decimal | None:
    """Use the last snapshot of each hour. A return counts between two hours that follow each other."""
    hours = {int(each.at.timestamp()) // _HOUR_SECONDS: each.equity for each in snapshots}
    returns = [
        (hours[hour] / hours[before]).ln()
        for before, hour in pairwise(hours)
        if hour == before + 1 and hours[before] > 0 and hours[hour] > 0
    ]
    deviation = standard_deviation(returns)
    return None if deviation is None else deviation * HUNDRED
