"""Defines what the strategy decides, with every value that led to it, and its form as JSON.

A decision can be computed again from its own `inputs`, to the last digit.

The classes of a decision and of its values have no slots. orjson writes a dataclass from its `__dict__`, and needs four
times as long for one with slots.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, Field, TypeAdapter

from shared.domain.amounts import Amount, Instant, plain
from shared.domain.capital.regime import MarketRegime
from shared.domain.strategy.candle_window import WindowFault
from shared.domain.strategy.indicator_values import CandleValues, TechnicalValues
from shared.domain.strategy.parameters import ApexParameters
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.signal import Signal
from shared.domain.strategy.sizing import SizeBound
from shared.domain.strategy.trader_account import TraderAccount
from shared.domain.value_class import value_class


class HoldReason(StrEnum):
    """Why nothing is bought or sold. The list is closed, so that a report can count the reasons."""

    WINDOW = "window"
    """The candles cannot be used; the faults say why."""
    ORDER_UNDER_WAY = "order_under_way"
    NO_EXIT = "no_exit"
    """A position is open, and no exit is due."""
    EXIT_BELOW_MINIMUM = "exit_below_minimum"
    """An exit is due, and the broker accepts no order that small."""
    NO_EQUITY = "no_equity"
    """The equity is not a positive amount."""
    NOT_FUNDED = "not_funded"
    OPENS_STOPPED = "opens_stopped"
    ROUTED = "routed"
    """The money would do better at another broker, which `route` names."""
    CANDLE_DECIDED = "candle_decided"
    """The entry of this candle has been decided."""
    CANDLE_BEGINNING = "candle_beginning"
    """The present candle has just begun, so the last one may not be complete yet."""
    CANDLE_OVERTAKEN = "candle_overtaken"
    """A newer candle has closed, and is not in the window yet. An exit does not wait for it, an entry does."""
    COOLDOWN = "cooldown"
    FILTER = "filter"
    """The market filter fails."""
    SHORT_ON_SPOT = "short_on_spot"
    """The market falls, and a spot account cannot sell short."""
    SCORE = "score"
    """Too few entry conditions hold."""
    THIN_VOLUME = "thin_volume"
    NO_TREND = "no_trend"
    """The trend is too weak for any size."""
    NO_STOP = "no_stop"
    """The stop would not be a price below the market."""
    EXPOSURE = "exposure"
    SYMBOL_AT_CAP = "symbol_at_cap"
    BELOW_MINIMUM = "below_minimum"
    """The broker accepts no order that small, or would not accept the sale at the stop."""


class ExitReason(StrEnum):
    """Why a position is sold, in the order in which exits are checked."""

    EMERGENCY = "emergency"
    STOP = "stop"
    EMA_CROSS = "ema_cross"
    TARGET = "target"
    ROOM = "room"
    """It is closed for a better entry, as the capital gate wants. It has no place in the order of checks."""
    FLATTEN = "flatten"
    """An operator stopped trading in the mode that closes what the strategy opened."""
    MARGIN_REDUCE = "margin_reduce"
    """The account is in the margin zone ORANGE: a part of every position is sold."""
    MARGIN_CLOSE = "margin_close"
    """The account is in the margin zone RED: the worst position is sold."""


@value_class
class DecisionInputs:
    """All that a decision depends on."""

    first_candle: Instant | None
    """When the window began; None: it was empty, or the decision needed no window."""
    last_candle: Instant | None
    candles: int
    faults: tuple[WindowFault, ...]
    technical: TechnicalValues | None
    """None when the window cannot be used."""
    candle: CandleValues | None
    position: StrategyPosition | None
    account: TraderAccount
    parameters: ApexParameters


@value_class
class GateQuestion:
    """What the capital gate is asked with. It may only lower the size."""

    signal_score: int
    expected_return_pct: Amount
    """The distance to 2R in percent, before a target is lifted."""
    regime: MarketRegime


@value_class
class Enter:
    """Buy. The capital gate has to approve it first."""

    inputs: DecisionInputs
    signal: Signal
    quantity: Amount
    size_usd: Amount
    """Quantity × price; a little below the smallest bound, because quantities are rounded down."""
    price: Amount
    """The close, at which the order was sized."""
    stop: Amount
    targets: tuple[Amount, Amount, Amount]
    """By the close. The targets of the position follow from the average price of its fills."""
    bounds: tuple[SizeBound, ...]
    decided_by: SizeBound
    gate: GateQuestion
    decision: Literal["enter"] = "enter"


@value_class
class Exit:
    """Sell. `quantity` is base currency, `fraction` is its share of what is held."""

    inputs: DecisionInputs
    signal: Signal | None
    reason: ExitReason
    quantity: Amount
    fraction: Amount
    price: Amount
    """The bid or close that the exit was judged by."""
    threshold: Amount
    """The price that was reached: stop, target, or the price of the emergency; for a crossing, EMA21."""
    loss_share: Amount
    """(price − average entry price) / average entry price; below 0 for a loss."""
    position: StrategyPosition
    """The position after this candle. The sale changes it when it fills."""
    decision: Literal["exit"] = "exit"


@value_class
class Hold:
    """Neither buy nor sell, with every reason."""

    inputs: DecisionInputs
    signal: Signal | None
    reasons: tuple[HoldReason, ...]
    position: StrategyPosition | None
    """The position after this candle: its stop may have moved up."""
    bounds: tuple[SizeBound, ...] = ()
    """The limits of an entry, when one was sized and was too small."""
    decision: Literal["hold"] = "hold"


StrategyDecision = Enter | Exit | Hold

_written: dict[int, tuple[BaseModel, orjson.Fragment]] = {}
_MOST_WRITTEN: Final = 256
_ADAPTER: Final[TypeAdapter[StrategyDecision]] = TypeAdapter(
    Annotated[StrategyDecision, Field(discriminator="decision")]
)


def to_json(decision: StrategyDecision) -> bytes:
    """Write a decision. Amounts are text, so that no digit is lost."""
    return orjson.dumps(decision, default=_json_value, option=orjson.OPT_UTC_Z)


def _json_value(value: object) -> Any:
    """Write what orjson does not know: amounts as the text of `plain`, and models as they write themselves."""
    if isinstance(value, Decimal):
        text = str(value)
        # Most amounts have their plain text already, and a backtest writes millions of them.
        return plain(value) if "E" in text or (text[-1] == "0" and ("." in text or value.is_signed())) else text
    if isinstance(value, BaseModel):
        return _json_of_model(value)
    raise TypeError(f"a decision has no {type(value).__name__}")


def _json_of_model(model: BaseModel) -> orjson.Fragment:
    """Write a frozen model. Instruments, fees and parameters are the same objects in all decisions of an account.

    The cache goes by identity, because the hash of a model takes longer than the rest of the record. It holds the model,
    so that no other one gets its id.
    """
    known = _written.get(id(model))
    if known is None:
        if len(_written) >= _MOST_WRITTEN:
            _written.clear()
        known = _written[id(model)] = (model, orjson.Fragment(model.model_dump_json()))
    return known[1]


def from_json(text: str | bytes) -> StrategyDecision:
    """Read a decision. Raises pydantic's ValidationError for another form."""
    return _ADAPTER.validate_json(text)


def to_values(decision: StrategyDecision) -> dict[str, Any]:
    """Return a decision as JSON values, for a column that holds JSON."""
    values: dict[str, Any] = _ADAPTER.dump_python(decision, mode="json")
    return values


def from_values(values: Mapping[str, Any]) -> StrategyDecision:
    """Read a decision from JSON values. Raises pydantic's ValidationError for another form."""
    return _ADAPTER.validate_python(values)
