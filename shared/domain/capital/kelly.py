"""Computes the size of a trade by half of Kelly's formula.

    kelly = (win rate × b − (1 − win rate)) / b,   b = average win / average loss

Half of it × capital × regime is clamped to 0.5–5 % of equity and to the class's risk. After that come the factors of
heat, drawdown and liquidity, without a floor. Without an edge the size is 0.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ONE, ZERO
from shared.domain.capital.arithmetic import (
    HUNDRED,
    checked,
    clamp,
    cut_cents,
    fixed_precision,
    percent_of,
    total,
)
from shared.domain.capital.facts import AccountFacts, ClosedTrade, RequestedOdds
from shared.domain.capital.regime import MarketRegime
from shared.domain.capital.scaling import LARGE_FROM, MEDIUM_FROM, risk_amount, rules_for

FEWEST_TRADES: Final = 30
"""Closed trades from which on the account's own record counts."""
RECORD_LASTS: Final = timedelta(days=30)
"""Older trades do not count. So an account without an edge pauses, and begins again with the defaults."""
DEFAULT_WIN_RATE: Final = Decimal("0.5")
DEFAULT_RATIO: Final = Decimal("1.5")
LEAST_PCT: Final = Decimal("0.5")
MOST_PCT: Final = Decimal(5)
REGIME_FACTORS: Final = {
    MarketRegime.STRONG_TREND: Decimal("1.3"),
    MarketRegime.TRENDING: Decimal("1.0"),
    MarketRegime.RANGING: Decimal("0.7"),
    MarketRegime.VOLATILE: Decimal("0.5"),
}
HEAT_FACTORS: Final = ((Decimal(70), Decimal("0.3")), (Decimal(50), Decimal("0.5")), (Decimal(30), Decimal("0.8")))
"""The factor of a heat above a percentage; the first that applies counts, else 1."""


class OddsSource(StrEnum):
    """Where a win rate or a ratio comes from."""

    OWN_TRADES = "own trades"
    REQUEST = "request"
    DEFAULT = "default"


class Odds(BaseModel):
    """Win rate and ratio of average win to average loss, and where they come from."""

    model_config = ConfigDict(frozen=True)

    win_rate: Decimal
    ratio: Decimal | None
    """None: there are wins and no losses, so the ratio has no bound."""
    win_rate_from: OddsSource
    ratio_from: OddsSource


class KellySize(BaseModel):
    """The size of a trade before heat, drawdown and liquidity, with every step."""

    model_config = ConfigDict(frozen=True)

    odds: Odds
    kelly_pct: Decimal
    """The whole fraction in percent of equity, below zero without an edge."""
    half_kelly_pct: Decimal
    """Half of it; 0 without an edge."""
    capital_factor: Decimal
    regime_factor: Decimal
    clamped_pct: Decimal
    """After both factors, within 0.5–5 %; 0 without an edge."""
    size: Decimal
    """US dollars: that part of equity, or the class's risk if it is less. Not cut to cents yet."""


@fixed_precision
def kelly_size(equity: Decimal, odds: Odds, regime: MarketRegime | None = None) -> KellySize:
    """Return the size for an account with this equity. Raises InvalidAmount for an equity below zero."""
    checked("equity", equity, least=0)
    kelly = kelly_fraction(odds.win_rate, odds.ratio)
    half = max(ZERO, kelly / 2) * HUNDRED
    capital, factor = capital_factor(equity), ONE if regime is None else REGIME_FACTORS[regime]
    clamped = clamp(half * capital * factor, LEAST_PCT, MOST_PCT) if half > 0 else ZERO
    return KellySize(
        odds=odds,
        kelly_pct=kelly * HUNDRED,
        half_kelly_pct=half,
        capital_factor=capital,
        regime_factor=factor,
        clamped_pct=clamped,
        size=min(equity * clamped / HUNDRED, risk_amount(equity)),
    )


@fixed_precision
def kelly_fraction(win_rate: Decimal, ratio: Decimal | None) -> Decimal:
    """Return the part of equity that Kelly's formula risks; it may be below zero.

    `ratio`: average win / average loss. None means no losses, where the formula tends to the win rate. At 0 wins are
    worth nothing, and the result is −1.
    """
    rate = checked("win_rate", win_rate, least=0, most=1)
    if ratio is None:
        return rate
    b = checked("ratio", ratio, least=0)
    return max(-ONE, (rate * b - (ONE - rate)) / b) if b > 0 else -ONE


def recent_trades(trades: Sequence[ClosedTrade], now: datetime) -> tuple[ClosedTrade, ...]:
    """Return the trades that were closed in the last 30 days."""
    return tuple(trade for trade in trades if now - trade.closed_at <= RECORD_LASTS)


def counts_until(trades: Sequence[ClosedTrade]) -> datetime | None:
    """Return when so few of these trades will count that the record does not any more. None: it does not count now."""
    if len(trades) < FEWEST_TRADES:
        return None
    return sorted(trade.closed_at for trade in trades)[-FEWEST_TRADES] + RECORD_LASTS


@fixed_precision
def odds_of(trades: Sequence[ClosedTrade], requested: RequestedOdds | None = None) -> Odds:
    """Return the odds of the account's own trades when there are 30, else those of the request, else the defaults."""
    if len(trades) >= FEWEST_TRADES:
        wins = [trade.profit for trade in trades if trade.profit > 0]
        losses = [-trade.profit for trade in trades if trade.profit <= 0]
        return Odds(
            win_rate=Decimal(len(wins)) / len(trades),
            ratio=ratio_of(total(wins) / max(1, len(wins)), total(losses) / max(1, len(losses))),
            win_rate_from=OddsSource.OWN_TRADES,
            ratio_from=OddsSource.OWN_TRADES,
        )
    asked = requested or RequestedOdds()
    has_rate, has_ratio = asked.win_rate is not None, asked.average_win is not None
    return Odds(
        win_rate=DEFAULT_WIN_RATE if asked.win_rate is None else asked.win_rate,
        ratio=DEFAULT_RATIO
        if asked.average_win is None or asked.average_loss is None
        else ratio_of(asked.average_win, asked.average_loss),
        win_rate_from=OddsSource.REQUEST if has_rate else OddsSource.DEFAULT,
        ratio_from=OddsSource.REQUEST if has_ratio else OddsSource.DEFAULT,
    )


@fixed_precision
def ratio_of(average_win: Decimal, average_loss: Decimal) -> Decimal | None:
    """Return win / loss. None: no losses. Without wins it is 0, also when there are no losses either."""
    win = checked("average_win", average_win, least=0)
    loss = checked("average_loss", average_loss, least=0)
    if win == 0:
        return ZERO
    return win / loss if loss > 0 else None


def capital_factor(equity: Decimal) -> Decimal:
    """Return the factor of an account's size: 0.7 for a small one, 1.2 for a large one, else 1."""
    if equity < MEDIUM_FROM:
        return Decimal("0.7")
    return Decimal("1.2") if equity >= LARGE_FROM else ONE


@fixed_precision
def heat_of(account: AccountFacts) -> Decimal:
    """Return the exposure of the strategy in percent of what all its positions may hold together."""
    rules = rules_for(account.equity)
    return percent_of(account.exposure, rules.most_positions * rules.risk_pct * account.equity / HUNDRED)


def heat_factor(heat_pct: Decimal) -> Decimal:
    """Return the factor of a heat in percent. Raises InvalidAmount for one below zero."""
    heat = checked("heat_pct", heat_pct, least=0)
    return next((factor for above, factor in HEAT_FACTORS if heat > above), ONE)


@fixed_precision
def recommended_size(kelly: KellySize, heat_pct: Decimal, drawdown_factor: Decimal = ONE) -> Decimal:
    """Return the size after heat and drawdown, cut to cents, with no floor."""
    factor = checked("drawdown_factor", drawdown_factor, least=0, most=1)
    return cut_cents(kelly.size * heat_factor(heat_pct) * factor)
