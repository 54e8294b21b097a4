"""Defines what the gate is asked and what it answers. Only the gate can build an `Approved` value."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, Generic, TypeVar, final

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.amounts import Amount
from shared.domain.capital.arithmetic import NonNegative, Percent, Signed
from shared.domain.capital.drawdown import DrawdownRecord
from shared.domain.capital.execution import ExecutionMethod, ExecutionPlan
from shared.domain.capital.facts import AccountFacts, ClosedTrade, MarketFacts, RequestedOdds, Tradable
from shared.domain.capital.kelly import Odds
from shared.domain.capital.opportunity import OpportunityAction
from shared.domain.capital.regime import MarketRegime
from shared.domain.capital.scaling import DEFAULT_STOCKS
from shared.domain.fees import Fees, SmallAccountRule
from shared.domain.fill import Side
from shared.domain.instrument import Instrument
from shared.domain.stop import StopMode
from shared.domain.symbol import Symbol

T = TypeVar("T")


class EntryRequest(BaseModel):
    """An entry that the strategy or a user asks for."""

    model_config = ConfigDict(frozen=True)

    instrument: Tradable
    side: Side = Side.BUY
    """A sale opens a short position, which only a margin account can have."""
    signal_score: Percent
    expected_return_pct: Signed
    """Before any target is lifted to the broker's smallest worthwhile profit."""
    regime: MarketRegime | None = None
    odds: RequestedOdds = RequestedOdds()
    largest_size: NonNegative | None = None
    """The size that the strategy wants, in US dollars. The gate only lowers it. None: the gate alone decides."""
    has_made_room: bool = False
    """The worst position was closed for this entry, so no other one is closed for it."""


class GateInputs(BaseModel):
    """Everything that the gate needs to know. Nothing else is read."""

    model_config = ConfigDict(frozen=True)

    request: EntryRequest
    account: AccountFacts
    market: MarketFacts | None
    """None: the broker gives no market data for the symbol."""
    drawdown: DrawdownRecord
    fees: Fees
    stop: StopMode | None = None
    """None: trading is not stopped."""
    trades: tuple[ClosedTrade, ...] = ()
    """The account's own closed trades."""
    correlation: Annotated[Amount, Field(ge=-1, le=1)] | None = None
    """The highest correlation with a held symbol; None: nothing is held, or it is unknown."""
    small_account: SmallAccountRule | None = None
    stocks: tuple[str, ...] = DEFAULT_STOCKS
    """Shares that the settings allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An order that opens a position, with the plan of its execution."""

    instrument: Instrument
    side: Side
    quantity: Decimal
    """Base currency, in whole lots."""
    size: Decimal
    """US dollars, cut to cents. The quantity costs no more at the limit price."""
    leverage: Decimal
    margin: Decimal
    """What the entry binds of the account, in US dollars."""
    plan: ExecutionPlan


_SEAL: Final = object()


@final
class Approved(Generic[T]):
    """A value that the capital gate has approved.

    A function that takes `Approved[Entry]` cannot be called with an entry that no gate has seen. There is no other way
    to build one than `approve`, which only the gate calls.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T, seal: object) -> None:
        """Raise TypeError for a caller that does not hold the seal of this module."""
        if seal is not _SEAL:
            raise TypeError("only the capital gate approves; ask shared.domain.capital.gate.recommend")
        self._value = value

    @property
    def value(self) -> T:
        """What was approved."""
        return self._value


def approve(value: T) -> Approved[T]:
    """Approve a value. Only the gate may call this; a test keeps it so."""
    return Approved(value, _SEAL)


class Verdict(StrEnum):
    """The answer in one word."""

    ENTER = "ENTER"
    CAUTION = "CAUTION"
    """Approved at a reduced size, because the order would have moved the price by more than 1 %."""
    REJECT = "REJECT"


class ReasonCode(StrEnum):
    """Why the gate answers as it does, in the order of its checks."""

    STOPPED = "stopped"
    DRAWDOWN_BREAKER = "drawdown_breaker"
    NO_BALANCE = "no_balance"
    ACCOUNT_DATA_OLD = "account_data_old"
    NO_MARGIN_ACCOUNT = "no_margin_account"
    SHORT_NOT_EXECUTED = "short_not_executed"
    MARGIN_ZONE = "margin_zone"
    ASSET_NOT_ALLOWED = "asset_not_allowed"
    POSITION_LIMIT = "position_limit"
    MARKET_DATA_MISSING = "market_data_missing"
    NO_EDGE = "no_edge"
    BUCKET_FULL = "bucket_full"
    RESERVE = "reserve"
    HIGH_IMPACT = "high_impact"
    HOLD = "hold"
    SKIP = "skip"
    CLOSE_WORST_FIRST = "close_worst_first"
    RETURN_BELOW_COST = "return_below_cost"
    BELOW_MINIMUM = "below_minimum"


class AdjustmentName(StrEnum):
    """The steps that change the size, in the order in which they apply."""

    HALF_KELLY = "half_kelly"
    CAPITAL = "capital"
    REGIME = "regime"
    KELLY_BAND = "kelly_band"
    CLASS_RISK = "class_risk"
    WANTED_SIZE = "wanted_size"
    HEAT = "heat"
    DRAWDOWN = "drawdown"
    BUCKET = "bucket"
    RESERVE = "reserve"
    IMPACT = "impact"
    IMPACT_CUT = "impact_cut"


class Adjustment(BaseModel):
    """One step from equity to the size of the entry."""

    model_config = ConfigDict(frozen=True)

    name: AdjustmentName
    factor: Decimal
    """Size after the step / size before it. The first step starts from the equity."""
    size: Decimal
    """US dollars after the step, cut to cents."""


class Recommendation(BaseModel):
    """The gate's answer. Money is US dollars; figures that were not reached are 0 or None."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    recommendation: Verdict
    reason: str
    """One sentence."""
    reason_codes: tuple[ReasonCode, ...] = ()
    action: OpportunityAction | None = None
    optimal_leverage: Decimal | None = None
    effective_leverage: Decimal | None = None
    position_size_usd: Decimal
    quantity: Decimal
    margin_required: Decimal
    risk_pct: Decimal
    """The size in percent of equity."""
    execution_method: ExecutionMethod | None = None
    adjustments: tuple[Adjustment, ...] = ()
    decided_by: AdjustmentName | None = None
    """The last step that lowered the size."""
    odds: Odds | None = None
    close_first: Symbol | None = None
    """The position to close before the gate is asked again, with `has_made_room`."""
    approved: Approved[Entry] | None = Field(default=None, exclude=True)
    """None: no entry may be placed. It never leaves the process, so it is not written to JSON."""
