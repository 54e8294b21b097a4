"""Decides on one symbol of one account from its candles: `decide`, which live trading and the backtest share.

This is the lowest place that may import both the indicators and the rules of the strategy.
"""

from decimal import Decimal
from math import isfinite

import orjson

from shared.domain.strategy.candle_window import WindowFault, WindowProblem, faults_at
from shared.domain.strategy.decide import decide_from
from shared.domain.strategy.decision import DecisionInputs, StrategyDecision
from shared.domain.strategy.indicator_values import TechnicalValues, candle_values
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.trader_account import TraderAccount
from shared.indicators.functions import adx, atr, ema, macd_histogram, rsi
from shared.indicators.window import PriceColumns, Window


def decide(
    window: Window,
    position: StrategyPosition | None,
    account: TraderAccount,
    parameters: ApexParameters = APEX,
) -> StrategyDecision:
    """Return what to do now. It reads no clock and changes nothing; equal arguments lead to equal decisions."""
    candles = window.candles
    count = len(candles)
    last = candles[-1] if count else None
    faults = window.faults
    if last is not None:
        faults += faults_at(last, account.at, parameters.stale_seconds)
    technical = None if faults else technical_values(window.columns)
    if last is not None and not faults and technical is None:
        faults = (WindowFault(WindowProblem.NOT_A_NUMBER, last.opened_at),)
    return decide_from(
        DecisionInputs(
            first_candle=candles[0].opened_at if count else None,
            last_candle=None if last is None else last.opened_at,
            candles=count,
            faults=faults,
            technical=technical,
            candle=None if technical is None else candle_values(candles),
            position=position,
            account=account,
            parameters=parameters,
        )
    )


def technical_values(columns: PriceColumns) -> TechnicalValues | None:
    """Compute the indicators of a window's last candle; None when one of them has no finite value."""
    highs, lows, closes = columns.highs, columns.lows, columns.closes
    histogram, strength = macd_histogram(closes), rsi(closes)
    floats = (
        columns.vwaps.item(-1),
        ema(closes, 9).item(-1),
        ema(closes, 21).item(-1),
        ema(closes, 50).item(-1),
        histogram.item(-1),
        histogram.item(-2),
        adx(highs, lows, closes).item(-1),
        strength.item(-1),
        strength.item(-2),
        atr(highs, lows, closes).item(-1),
    )
    if not isfinite(sum(floats)):
        return None
    # The text of a float is the shortest one that leads back to it, so nothing is lost or invented. orjson writes the
    # same digits as `repr`, and all ten in the time of one `repr`.
    values = [Decimal(text) for text in orjson.dumps(floats).decode()[1:-1].split(",")]
    return TechnicalValues(
        vwap=values[0],
        ema_9=values[1],
        ema_21=values[2],
        ema_50=values[3],
        histogram=values[4],
        histogram_before=values[5],
        adx=values[6],
        rsi=values[7],
        rsi_before=values[8],
        atr=values[9],
    )
