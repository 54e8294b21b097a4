"""Defines the answers to questions about capital that are not models of the domain already."""

from datetime import datetime, timedelta
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Instant
from shared.domain.capital.arithmetic import NonNegative, Percent, Signed
from shared.domain.capital.buckets import Allocation, LeverageBand
from shared.domain.capital.drawdown import DrawdownState
from shared.domain.capital.execution import ExecutionMethod
from shared.domain.capital.facts import RequestedOdds
from shared.domain.capital.history import CapitalHistory
from shared.domain.capital.kelly import KellySize
from shared.domain.capital.leverage import OptimalLeverage
from shared.domain.capital.liquidity import LiquidityCheck
from shared.domain.capital.margin import MarginAction, MarginStatus
from shared.domain.capital.opportunity import Opportunity
from shared.domain.capital.recommendation import Recommendation
from shared.domain.capital.regime import MarketRegime
from shared.domain.capital.scaling import AccountClass
from shared.domain.capital.state import CapitalState
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class SymbolLeverage(_Answer):
    """The optimal leverage of one symbol, with the market figures that it was computed from."""

    symbol: Symbol
    leverage: OptimalLeverage
    atr_pct: Decimal | None
    """ATR14 of 4-hour candles, in percent of the last close."""
    spread_bps: Decimal | None
    missing: str | None
    """Which market data are missing or too old; None: none. The leverage is then 3 with a low confidence."""
    computed_at: Instant


class KellyAnswer(_Answer):
    """The size of a trade by Kelly's formula, after all factors."""

    symbol: Symbol
    kelly: KellySize
    heat_pct: Decimal
    heat_factor: Decimal
    drawdown_factor: Decimal
    liquidity_factor: Decimal | None
    """What the order book leaves of the size; None: there is no order book."""
    size: Decimal
    """US dollars, cut to cents; 0 without an edge, or without an order book."""
    missing: str | None


class MarginCondition(MarginStatus):
    """The zone of an account, and what nija has sold because of it."""

    last_action: MarginAction | None
    """The last automatic round of orders; None: there was none."""


class ScalingStatus(_Answer):
    """The class of an account and what the class may do."""

    account_class: AccountClass
    equity: Decimal
    most_positions: int
    open_positions: int
    """Positions that nija opened."""
    leverage: LeverageBand
    risk_pct: Decimal
    risk_band: tuple[Decimal, Decimal]
    risk_amount: Decimal
    """The largest size of one trade in US dollars."""
    assets: tuple[str, ...]
    stocks: tuple[str, ...]
    ways: tuple[str, ...]
    goal: str


class RiskParity(_Answer):
    """The share of each symbol, in percent; all shares add up to 100."""

    shares: dict[str, Decimal]
    volatilities: dict[str, Decimal]
    missing: tuple[str, ...] = ()
    """Symbols without enough candles. They have no share."""


class DrawdownStatus(_Answer):
    """How deep an account is below its peak, and what that leaves."""

    state: DrawdownState
    drawdown_pct: Decimal
    peak: Decimal
    equity: Decimal
    """At `recorded_at`."""
    is_breaker_open: bool
    """No entries are allowed."""
    breaker_until: Instant | None
    size_pct: Decimal
    """What is left of the size of an entry."""
    most_positions: int
    leverage_less: Decimal
    most_leverage: Decimal | None
    recorded_at: Instant | None
    """None: the monitor has not sampled the account yet, so the present equity counts as the peak."""


class BucketAllocation(_Answer):
    """The buckets of an account against their targets, with the orders that would restore them."""

    allocation: Allocation
    proposed_at: Instant | None
    """When the monitor reported such orders last. It does so daily while a bucket is off, else weekly."""


class LiquidityAnswer(_Answer):
    """What the order book leaves of an order, and how it would be executed."""

    symbol: Symbol
    side: Side
    size: Decimal
    """US dollars that were asked for."""
    best_price: Decimal | None
    check: LiquidityCheck | None
    """None: market data are missing."""
    method: ExecutionMethod | None
    missing: str | None


class EntryQuestion(_Answer):
    """What a user asks the gate. Raises ValueError for a number out of its range."""

    symbol: str
    """As a user writes it: BTCUSDT, BTC-USD, BTC/USD."""
    side: Side = Side.BUY
    signal_score: Percent
    expected_return_pct: Signed
    regime: MarketRegime | None = None
    odds: RequestedOdds = RequestedOdds()
    largest_size: NonNegative | None = None


class CompleteAnalysis(_Answer):
    """Everything about one account and one symbol."""

    broker: Broker
    account: str
    symbol: Symbol
    as_of: Instant
    state: CapitalState
    history: CapitalHistory
    """The last 24 hours, with the first and the last point."""
    leverage: SymbolLeverage
    kelly: KellyAnswer
    margin: MarginCondition
    scaling: ScalingStatus
    risk_parity: RiskParity
    drawdown: DrawdownStatus
    opportunity: Opportunity | None
    """None: no signal was given."""
    allocation: BucketAllocation
    liquidity: LiquidityAnswer
    recommendation: Recommendation | None
    """None: no signal was given."""


def with_numbers(value: object) -> object:
    """Return an answer, or a part of it, as a JSON document.

    Amounts are numbers, times are ISO 8601 in UTC, and durations are seconds.
    """
    if isinstance(value, BaseModel):
        # Not by model_dump, which writes some amounts as text.
        shown = (name for name, field in type(value).model_fields.items() if not field.exclude)
        return {name: with_numbers(getattr(value, name)) for name in shown}
    if isinstance(value, dict):
        return {str(name): with_numbers(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [with_numbers(each) for each in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, datetime) else value
