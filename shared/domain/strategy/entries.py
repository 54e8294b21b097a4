"""Decides whether a symbol without a position is bought, and how much of it at most."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Final

from shared.domain.accounts.broker_health import is_funded
from shared.domain.amounts import ONE, ZERO
from shared.domain.strategy.candle_window import INTERVAL, seconds_into_candle
from shared.domain.strategy.decision import DecisionInputs, Enter, GateQuestion, Hold, HoldReason
from shared.domain.strategy.indicator_values import CandleValues, TechnicalValues
from shared.domain.strategy.parameters import ApexParameters
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.routing import RoutedTo
from shared.domain.strategy.signal import Signal, regime_of
from shared.domain.strategy.sizing import BoundName, SizeBound, deciding, share_by_adx, size_bounds
from shared.domain.strategy.targets import MULTIPLES, SINGLE_TARGET, first_stop, target_price
from shared.domain.strategy.trader_account import TraderAccount

_NEXT_CLOSE: Final = 2 * INTERVAL.length
"""From the beginning of a candle to the close of the next one."""
_EMPTY_BOUND = {
    BoundName.TREND: HoldReason.NO_TREND,
    BoundName.EXPOSURE: HoldReason.EXPOSURE,
    BoundName.SYMBOL_CAP: HoldReason.SYMBOL_AT_CAP,
}


def enter_or_hold(inputs: DecisionInputs, signal: Signal) -> Enter | Hold:
    """Decide on a symbol that the strategy does not hold. `inputs` has usable candles; else it raises ValueError."""
    technical, candle = inputs.technical, inputs.candle
    if technical is None or candle is None or inputs.last_candle is None:
        raise ValueError("an entry is decided on usable candles")
    account, parameters = inputs.account, inputs.parameters
    stop = first_stop(candle.lowest_low, technical.atr, parameters.stop_atr)
    reasons = [
        *_reasons_of_account(account, inputs.last_candle, parameters),
        *_reasons_of_market(signal, account, parameters),
    ]
    if not share_by_adx(technical.adx):
        reasons.append(HoldReason.NO_TREND)
    if not ZERO < stop < candle.close:
        reasons.append(HoldReason.NO_STOP)
    if reasons:
        return Hold(inputs=inputs, signal=signal, reasons=tuple(reasons), position=inputs.position)
    bounds = size_bounds(
        equity=account.equity_usd,
        exposure=account.exposure_usd,
        held=account.held_usd,
        adx=technical.adx,
        score=signal.conditions.score,
        parameters=parameters,
    )
    decided_by = deciding(bounds)
    quantity = account.instrument.rounded(decided_by.usd / candle.close)
    if not can_be_sold(quantity, stop, account):
        reason = HoldReason.BELOW_MINIMUM if decided_by.usd else _EMPTY_BOUND[decided_by.name]
        return Hold(inputs=inputs, signal=signal, reasons=(reason,), position=inputs.position, bounds=bounds)
    return _enter(inputs, signal, technical, candle, stop, quantity, bounds, decided_by)


def position_of(entry: Enter) -> StrategyPosition:
    """Return the position of an entry before its first fill."""
    account, parameters = entry.inputs.account, entry.inputs.parameters
    return StrategyPosition(
        instrument=account.instrument,
        round_trip=account.fees.round_trip,
        minimum_profit=account.route.minimum_profit,
        first_stop=entry.stop,
        stop=entry.stop,
        first_part=parameters.first_part,
        second_part=parameters.second_part,
    )


def _enter(
    inputs: DecisionInputs,
    signal: Signal,
    technical: TechnicalValues,
    candle: CandleValues,
    stop: Decimal,
    quantity: Decimal,
    bounds: tuple[SizeBound, ...],
    decided_by: SizeBound,
) -> Enter:
    account, parameters, price = inputs.account, inputs.parameters, candle.close
    risk = price - stop
    first, second, third = (target_price(price, risk, multiple, account.route.minimum_profit) for multiple in MULTIPLES)
    return Enter(
        inputs=inputs,
        signal=signal,
        quantity=quantity,
        size_usd=quantity * price,
        price=price,
        stop=stop,
        targets=(first, second, third),
        bounds=bounds,
        decided_by=decided_by,
        gate=GateQuestion(
            signal_score=signal.gate_score,
            expected_return_pct=SINGLE_TARGET * risk / price * 100,
            regime=regime_of(technical.adx, account.four_hour_atr_pct, parameters),
        ),
    )


def _reasons_of_account(
    account: TraderAccount, last_candle: datetime, parameters: ApexParameters
) -> Iterator[HoldReason]:
    """Yield why the account opens nothing now, whatever the market does."""
    if account.equity_usd <= ZERO:
        yield HoldReason.NO_EQUITY
    elif not is_funded(account.equity_usd):
        yield HoldReason.NOT_FUNDED
    if account.opens_stopped:
        yield HoldReason.OPENS_STOPPED
    if isinstance(account.route, RoutedTo):
        yield HoldReason.ROUTED
    if account.decided_candle is not None and last_candle <= account.decided_candle:
        yield HoldReason.CANDLE_DECIDED
    if seconds_into_candle(account.at) < parameters.settle_seconds:
        yield HoldReason.CANDLE_BEGINNING
    if account.at >= last_candle + _NEXT_CLOSE:
        yield HoldReason.CANDLE_OVERTAKEN
    pause = account.losses.pauses_until(parameters)
    if pause is not None and account.at < pause:
        yield HoldReason.COOLDOWN


def _reasons_of_market(signal: Signal, account: TraderAccount, parameters: ApexParameters) -> Iterator[HoldReason]:
    """Yield why the market is not one to enter."""
    if not signal.long.passed:
        yield HoldReason.FILTER
    if account.spot and signal.short.passed:
        yield HoldReason.SHORT_ON_SPOT
    if signal.conditions.score < parameters.conditions:
        yield HoldReason.SCORE
    if signal.thin:
        yield HoldReason.THIN_VOLUME


def can_be_sold(quantity: Decimal, stop: Decimal, account: TraderAccount) -> bool:
    """Whether the broker would accept the sale at the stop, after a fee in the base was taken from the quantity."""
    held = account.instrument.rounded(quantity * (ONE - account.fees.taker))
    return account.instrument.is_orderable(held, stop)
