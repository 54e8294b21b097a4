"""Explains a decision of the strategy value by value: what was compared with what, and which limit decided a size.

The result is text in parts, which a front end prints as it likes. It is made from the record of a decision alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from shared.domain.amounts import ONE, plain
from shared.domain.capital.margin import ORANGE_FROM
from shared.domain.capital.recommendation import Recommendation
from shared.domain.strategy.decision import DecisionInputs, Enter, Exit, ExitReason, Hold, HoldReason, StrategyDecision
from shared.domain.strategy.indicator_values import CandleValues, TechnicalValues
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.routing import RoutedTo
from shared.domain.strategy.signal import Signal
from shared.domain.strategy.sizing import SizeBound
from shared.domain.strategy.targets import MULTIPLES

_PLACES: Final = Decimal("1e-8")
REASONS: Final = {
    HoldReason.WINDOW: "the candles cannot be used",
    HoldReason.ORDER_UNDER_WAY: "an order of the strategy for this symbol is not final yet",
    HoldReason.NO_EXIT: "a position is open, and no exit is due",
    HoldReason.EXIT_BELOW_MINIMUM: "an exit is due, and the broker accepts no order that small",
    HoldReason.NO_EQUITY: "the account has no equity",
    HoldReason.NOT_FUNDED: "the account has less equity than a funded account needs",
    HoldReason.OPENS_STOPPED: "the account opens nothing now",
    HoldReason.ROUTED: "the money would do better at another broker",
    HoldReason.CANDLE_DECIDED: "the entry of this candle has been decided already",
    HoldReason.CANDLE_BEGINNING: "the present candle has just begun, so the last one may not be complete",
    HoldReason.CANDLE_OVERTAKEN: "a newer candle has closed, and is not in the window",
    HoldReason.COOLDOWN: "entries pause after losing positions in a row",
    HoldReason.FILTER: "the market filter fails",
    HoldReason.SHORT_ON_SPOT: "the market falls, and a spot account cannot sell short",
    HoldReason.SCORE: "too few entry conditions hold",
    HoldReason.THIN_VOLUME: "the volume is far below that of the last 20 candles",
    HoldReason.NO_TREND: "the trend is too weak for any size",
    HoldReason.NO_STOP: "the stop would not be a price below the market",
    HoldReason.EXPOSURE: "the positions of the strategy have reached their share of equity",
    HoldReason.SYMBOL_AT_CAP: "the symbol is held up to its cap",
    HoldReason.BELOW_MINIMUM: "the broker accepts no order that small, or would not accept the sale at the stop",
}

EXIT_REASONS: Final = {
    ExitReason.ROOM: "a better entry takes the place of the position",
    ExitReason.FLATTEN: "an operator stopped trading in the mode that closes what the strategy opened",
    ExitReason.MARGIN_REDUCE: "the margin zone is ORANGE, so a part of every position of the strategy is sold",
    ExitReason.MARGIN_CLOSE: "the margin zone RED was entered, so the position with the lowest unrealized percentage is sold",
}
"""Reasons that are not explained by a price."""


@dataclass(frozen=True, slots=True)
class ExplainedValue:
    """One value of a decision. `wanted` is what it was compared with; `holds` is None without a comparison."""

    name: str
    value: str
    wanted: str = ""
    holds: bool | None = None


@dataclass(frozen=True, slots=True)
class ExplainedPart:
    """Values that belong together."""

    title: str
    values: tuple[ExplainedValue, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision in words: its outcome, each reason, and all values that led to it."""

    outcome: str
    """One sentence."""
    reasons: tuple[str, ...]
    parts: tuple[ExplainedPart, ...]


def explain(decision: StrategyDecision, gate: Recommendation | None = None) -> Explanation:
    """Return why a decision was made. `gate`: what the capital gate answered, when it was asked."""
    parts = [part for title, values in _parts(decision, gate) if (part := ExplainedPart(title, tuple(values))).values]
    return Explanation(_outcome(decision, gate), _reasons(decision, gate), tuple(parts))


def _outcome(decision: StrategyDecision, gate: Recommendation | None) -> str:
    instrument = decision.inputs.account.instrument
    symbol, base = instrument.symbol, instrument.base
    if isinstance(decision, Exit):
        share = f"{_percent(decision.fraction)} of the position, {plain(decision.quantity)} {base}"
        return f"Sell {share} of {symbol}: {decision.reason.value} at {_number(decision.price)}."
    if isinstance(decision, Hold):
        return f"Neither buy nor sell {symbol}."
    wanted = f"{plain(decision.quantity)} {base} of {symbol} for {_number(decision.size_usd)} USD"
    if gate is None:
        return f"Buy {wanted}, if the capital gate approves."
    if gate.quantity and gate.close_first is None:
        lowered = f" The capital gate approved {plain(gate.quantity)} {base} for {_number(gate.position_size_usd)} USD."
        return f"Buy {wanted}.{lowered}"
    return f"Not bought: {wanted} was wanted, and the capital gate did not approve it."


def _reasons(decision: StrategyDecision, gate: Recommendation | None) -> tuple[str, ...]:
    if isinstance(decision, Hold):
        return tuple(REASONS[reason] for reason in decision.reasons)
    if isinstance(decision, Exit):
        return tuple(EXIT_REASONS[each] for each in (decision.reason,) if each in EXIT_REASONS)
    return () if gate is None else (gate.reason,)


def _parts(decision: StrategyDecision, gate: Recommendation | None) -> Iterator[tuple[str, Iterator[ExplainedValue]]]:
    inputs = decision.inputs
    yield "candles", _window(inputs)
    if inputs.technical is not None and inputs.candle is not None and decision.signal is not None:
        yield "market filter", _filter(decision.signal, inputs.technical, inputs.candle, inputs)
        yield "entry conditions", _conditions(decision.signal, inputs.technical, inputs.candle, inputs)
    yield "account", _account(inputs)
    if inputs.position is not None and inputs.position.is_open:
        yield "position and exits", _exits(decision, inputs.position)
    if isinstance(decision, Enter):
        yield "entry", _entry(decision)
    bounds = () if isinstance(decision, Exit) else decision.bounds
    yield "limits of the size", _bounds(bounds)
    if gate is not None:
        yield "capital gate", _gate(gate)


def _window(inputs: DecisionInputs) -> Iterator[ExplainedValue]:
    if inputs.last_candle is None:
        return
    first = "" if inputs.first_candle is None else f"{inputs.first_candle:%Y-%m-%d %H:%M} to "
    yield ExplainedValue("window", f"{inputs.candles} candles", f"{first}{inputs.last_candle:%Y-%m-%d %H:%M} UTC")
    for fault in inputs.faults:
        place = "" if fault.opened_at is None else f"at {fault.opened_at:%Y-%m-%d %H:%M} UTC"
        yield ExplainedValue("fault", fault.problem.value, place, holds=False)


def _filter(
    signal: Signal, technical: TechnicalValues, candle: CandleValues, inputs: DecisionInputs
) -> Iterator[ExplainedValue]:
    parameters, long = inputs.parameters, signal.long
    averages = f"> EMA21 {_number(technical.ema_21)} > EMA50 {_number(technical.ema_50)}"
    mean = candle.mean_volume_5
    yield ExplainedValue("close", _number(candle.close), f"> VWAP {_number(technical.vwap)}", long.price_and_vwap)
    yield ExplainedValue("EMA9", _number(technical.ema_9), averages, long.averages)
    yield ExplainedValue("MACD histogram", _number(technical.histogram), "> 0", long.histogram)
    yield ExplainedValue("ADX14", _number(technical.adx), f"> {plain(parameters.adx_above)}", long.trend)
    yield ExplainedValue("volume", _number(candle.volume), _part_of(parameters.filter_volume, mean, 5), long.volume)


def _conditions(
    signal: Signal, technical: TechnicalValues, candle: CandleValues, inputs: DecisionInputs
) -> Iterator[ExplainedValue]:
    parameters, found = inputs.parameters, signal.conditions
    near = f"within {_percent(parameters.near)} of EMA21 or VWAP"
    band = f"{plain(parameters.rsi_from)} to {plain(parameters.rsi_to)}, above {_number(technical.rsi_before)}"
    seen = [name for name, is_seen in (("engulfing", candle.bullish_engulfing), ("hammer", candle.hammer)) if is_seen]
    yield ExplainedValue("close", _number(candle.close), near, found.near_average)
    yield ExplainedValue("RSI14", _number(technical.rsi), band, found.rsi)
    yield ExplainedValue("pattern", ", ".join(seen) or "none", "bullish engulfing or hammer", found.pattern)
    yield ExplainedValue(
        "MACD histogram", _number(technical.histogram), f"> {_number(technical.histogram_before)}", found.momentum
    )
    yield ExplainedValue(
        "volume", _number(candle.volume), _part_of(parameters.entry_volume, candle.mean_volume_2, 2), found.volume
    )
    yield ExplainedValue(
        "score", f"{found.score} of 5", f"≥ {parameters.conditions}", found.score >= parameters.conditions
    )
    yield ExplainedValue(
        "thin volume",
        _number(candle.volume),
        _part_of(parameters.thin_volume, candle.mean_volume_20, 20),
        not signal.thin,
    )


def _account(inputs: DecisionInputs) -> Iterator[ExplainedValue]:
    account = inputs.account
    yield ExplainedValue("decided at", f"{account.at:%Y-%m-%d %H:%M:%S} UTC")
    yield ExplainedValue("equity", f"{_number(account.equity_usd)} USD")
    yield ExplainedValue("in positions of the strategy", f"{_number(account.exposure_usd)} USD")
    yield ExplainedValue(f"{account.instrument.base} held", f"{_number(account.held_usd)} USD")
    atr = account.four_hour_atr_pct
    yield ExplainedValue("4-hour ATR", "unknown" if atr is None else f"{_number(atr)} % of the price")
    pause = account.losses.pauses_until(inputs.parameters)
    yield ExplainedValue(
        "losses in a row",
        str(account.losses.in_a_row),
        "" if pause is None else f"no entries until {pause:%H:%M:%S} UTC",
    )
    if account.best_bid is not None:
        yield ExplainedValue("best bid", _number(account.best_bid))
    if account.margin_used_pct is not None:
        used = account.margin_used_pct
        yield ExplainedValue("margin used", f"{_number(used)} %", f"< {plain(ORANGE_FROM)} %", used < ORANGE_FROM)
    if account.opens_stopped:
        yield ExplainedValue("opens stopped", account.opens_stopped, holds=False)
    if isinstance(account.route, RoutedTo):
        route = account.route
        yield ExplainedValue("routed to", route.broker.value, f"{route.reason}; {route.solution}", holds=False)


def _exits(decision: StrategyDecision, before: StrategyPosition) -> Iterator[ExplainedValue]:
    inputs = decision.inputs
    position = before if isinstance(decision, Enter) or decision.position is None else decision.position
    candle = inputs.candle
    bid = inputs.account.best_bid if inputs.account.best_bid is not None else None if candle is None else candle.close
    yield ExplainedValue(
        "held", f"{plain(position.quantity)} {position.instrument.base}", f"of {plain(position.bought)}"
    )
    yield ExplainedValue("average price", _number(position.average_price))
    if bid is None:
        return
    price, emergency = _number(bid), position.average_price * (ONE - inputs.parameters.emergency)
    yield ExplainedValue("price for emergency", price, f"≤ {_number(emergency)}", bid <= emergency)
    moved = "" if position.stop == before.stop else f", raised from {_number(before.stop)}"
    yield ExplainedValue("price for the stop", price, f"≤ {_number(position.stop)}{moved}", bid <= position.stop)
    if inputs.technical is not None:
        nine, twenty_one = inputs.technical.ema_9, inputs.technical.ema_21
        yield ExplainedValue("EMA9", _number(nine), f"< EMA21 {_number(twenty_one)}", nine < twenty_one)
    for multiple in MULTIPLES:
        target = position.target(multiple)
        yield ExplainedValue(f"price for {multiple}R", price, f"≥ {_number(target)}", bid >= target)
    if isinstance(decision, Exit):
        yield ExplainedValue("loss or gain", _percent(decision.loss_share), "without fees")


def _entry(entry: Enter) -> Iterator[ExplainedValue]:
    yield ExplainedValue("price", _number(entry.price), "the close")
    yield ExplainedValue("stop", _number(entry.stop), "lowest low of 10 candles less ATR")
    for multiple, target in zip(MULTIPLES, entry.targets, strict=True):
        yield ExplainedValue(f"target {multiple}", _number(target), f"{multiple}R, or the smallest worthwhile profit")
    yield ExplainedValue("asked with score", str(entry.gate.signal_score), "of 100")
    yield ExplainedValue("asked with return", f"{_number(entry.gate.expected_return_pct)} %", "the distance to 2R")
    yield ExplainedValue("asked with regime", entry.gate.regime.value)


def _bounds(bounds: tuple[SizeBound, ...]) -> Iterator[ExplainedValue]:
    smallest = min((bound.usd for bound in bounds), default=None)
    for bound in bounds:
        decides = "decides" if bound.usd == smallest else ""
        yield ExplainedValue(bound.name.value, f"{_number(bound.usd)} USD", decides)


def _gate(gate: Recommendation) -> Iterator[ExplainedValue]:
    yield ExplainedValue(
        "answer", gate.recommendation.value, ", ".join(code.value for code in gate.reason_codes), gate.quantity > 0
    )
    for step in gate.adjustments:
        decides = ", decides" if step.name is gate.decided_by else ""
        yield ExplainedValue(step.name.value, f"{_number(step.size)} USD", f"× {_number(step.factor)}{decides}")
    if gate.odds is not None:
        ratio = "no losses" if gate.odds.ratio is None else _number(gate.odds.ratio)
        yield ExplainedValue("win rate", _percent(gate.odds.win_rate), gate.odds.win_rate_from.value)
        yield ExplainedValue("win / loss", ratio, gate.odds.ratio_from.value)
    if gate.quantity:
        method = "" if gate.execution_method is None else gate.execution_method.value
        yield ExplainedValue("approved", f"{_number(gate.position_size_usd)} USD", method)


def _part_of(share: Decimal, mean: Decimal, candles: int) -> str:
    return f"≥ {_number(share * mean)}, {_percent(share)} of the mean of {candles}"


def _percent(share: Decimal) -> str:
    return f"{plain((share * 100).quantize(Decimal('0.0001')))} %"


def _number(value: Decimal) -> str:
    """A number with eight places at most; the record has all digits."""
    return plain(value if value == value.to_integral_value() else value.quantize(_PLACES))
