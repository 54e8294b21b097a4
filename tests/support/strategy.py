"""Builds candles, accounts and positions for tests of the strategy, with values that can be worked out by hand.

A zigzag rises by `rise` and falls by `fall` in turn, without end. Its indicators have closed forms, which the tests use:
after a rise, with A = (rise + fall) / 4 and d = (rise − fall) / 2,

    EMA(n) = close − A (1 − 1/n) − d (n − 1) / 2
    MACD histogram = 8/9 A (1/12 − 1/26), and the negative of it after a fall
    RSI(14) = 100 × 14 rise / (14 rise + 13 fall)
    ATR = above + below

ADX follows from the zigzag of highs and lows, which may differ from that of the closes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from shared.domain.fees import Fees, fees
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker, FillId
from shared.domain.instrument import Instrument
from shared.domain.market_data import Candle, Interval
from shared.domain.strategy.decision import DecisionInputs
from shared.domain.strategy.indicator_values import CandleValues, TechnicalValues
from shared.domain.strategy.parameters import APEX
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.routing import OpensHere
from shared.domain.strategy.trader_account import TraderAccount
from shared.domain.symbol import Symbol

BTC_USD = Symbol("BTC", "USD")
STARTS_AT = datetime(2024, 1, 1, tzinfo=UTC)
FIVE_MINUTES = timedelta(minutes=5)
FEES: Fees = fees("0.0026", "0.0016", "0.001")
INSTRUMENT = Instrument(
    broker=Broker.KRAKEN,
    symbol=BTC_USD,
    base="BTC",
    quote="USD",
    lot=Decimal("0.0001"),
    price_tick=Decimal("0.1"),
    minimum_quantity=Decimal("0.001"),
    minimum_cost=Decimal(5),
)


@dataclass(frozen=True)
class Zigzag:
    """Candles that rise and fall in turn; the last of an even number of candles has risen."""

    rise: Decimal = Decimal(3)
    fall: Decimal = Decimal(2)
    channel_rise: Decimal = Decimal("1.9")
    """By how much highs and lows rise in turn. The channel drifts as the closes do."""
    channel_fall: Decimal = Decimal("0.9")
    above: Decimal = Decimal(10)
    """From the channel's middle to the high."""
    below: Decimal = Decimal(10)
    start: Decimal = Decimal(3000)
    volume: Decimal = Decimal(100)

    @property
    def amplitude(self) -> Decimal:
        return (self.rise + self.fall) / 4

    @property
    def drift(self) -> Decimal:
        return (self.rise - self.fall) / 2

    def candles(self, count: int = 300) -> list[Candle]:
        """The first candle begins at STARTS_AT."""
        close = middle = self.start
        candles = []
        for index in range(count):
            before = close
            if index:
                rises = index % 2
                close += self.rise if rises else -self.fall
                middle += self.channel_rise if rises else -self.channel_fall
            candles.append(
                candle_at(
                    index,
                    opening=before,
                    high=middle + self.above,
                    low=middle - self.below,
                    close=close,
                    volume=self.volume,
                )
            )
        return candles

    def ema(self, close: Decimal, period: int) -> Decimal:
        """EMA after a rise to this close."""
        return close - self.amplitude * (1 - 1 / Decimal(period)) - self.drift * (period - 1) / 2

    @property
    def histogram(self) -> Decimal:
        return self.amplitude * (1 / Decimal(12) - 1 / Decimal(26)) * 8 / 9

    @property
    def rsi(self) -> Decimal:
        return 1400 * self.rise / (14 * self.rise + 13 * self.fall)

    @property
    def adx(self) -> Fraction:
        """ADX after a rise: Wilder's mean of two values of DX that take turns."""
        up, down = Fraction(self.channel_rise), Fraction(self.channel_fall)
        after_rise = abs(14 * up - 13 * down) / (14 * up + 13 * down)
        after_fall = abs(13 * up - 14 * down) / (13 * up + 14 * down)
        return 100 * (14 * after_rise + 13 * after_fall) / 27


def candle_at(
    index: int, *, opening: Decimal, high: Decimal, low: Decimal, close: Decimal, volume: Decimal = Decimal(100)
) -> Candle:
    """The candle number `index` after STARTS_AT."""
    return Candle(
        opened_at=STARTS_AT + index * FIVE_MINUTES,
        interval=Interval.FIVE_MINUTES,
        open=opening,
        high=high,
        low=low,
        close=close,
        base_volume=volume,
        is_closed=True,
    )


def with_last(candles: Sequence[Candle], **changes: Any) -> list[Candle]:
    """The same candles with another last one."""
    return [*candles[:-1], Candle.model_validate(candles[-1].model_dump() | changes)]


def account(candles: Sequence[Candle], **changes: Any) -> TraderAccount:
    """An account of 10,000 USD that decides ten seconds after the last candle closed."""
    facts = TraderAccount(
        at=candles[-1].closes_at + timedelta(seconds=10),
        instrument=INSTRUMENT,
        fees=FEES,
        route=OpensHere(FEES.smallest_worthwhile_profit),
        equity_usd=Decimal(10_000),
    )
    return replace(facts, **changes)


def fill(side: Side, quantity: str, price: str, *, fee: str = "0", fee_currency: str = "USD") -> AccountFill:
    """An execution of BTC/USD."""
    return AccountFill(
        fill_id=FillId(f"{side}-{quantity}-{price}"),
        order_id="1",
        symbol=BTC_USD,
        side=side,
        price=Decimal(price),
        quantity=Decimal(quantity),
        cost=Decimal(price) * Decimal(quantity),
        fee=Decimal(fee),
        fee_currency=fee_currency,
        executed_at=STARTS_AT,
    )


def position(quantity: str = "1", price: str = "1000", stop: str = "995", **changes: Any) -> StrategyPosition:
    """A position that was bought in one fill, with R = price − stop."""
    empty = StrategyPosition(
        instrument=INSTRUMENT,
        round_trip=FEES.round_trip,
        minimum_profit=Decimal(0),
        first_stop=Decimal(stop),
        stop=Decimal(stop),
        first_part=Decimal("0.5"),
        second_part=Decimal("0.25"),
    )
    return replace(empty.after_fill(fill(Side.BUY, quantity, price)), **changes)


GOOD_TECHNICAL = TechnicalValues(
    vwap=Decimal(990),
    ema_9=Decimal(998),
    ema_21=Decimal(997),
    ema_50=Decimal(996),
    histogram=Decimal(2),
    histogram_before=Decimal(1),
    adx=Decimal(35),
    rsi=Decimal(60),
    rsi_before=Decimal(55),
    atr=Decimal(4),
)
GOOD_CANDLE = CandleValues(
    open=Decimal(998),
    high=Decimal(1001),
    low=Decimal(997),
    close=Decimal(1000),
    volume=Decimal(100),
    mean_volume_2=Decimal(100),
    mean_volume_5=Decimal(100),
    mean_volume_20=Decimal(100),
    lowest_low=Decimal(992),
    bullish_engulfing=True,
    hammer=False,
)
NOW = STARTS_AT + timedelta(minutes=5, seconds=10)


def inputs(held: StrategyPosition | None = None, **changes: Any) -> DecisionInputs:
    """What a decision is made of: by default a market to enter at 1,000 with a stop at 990.

    A change goes to the values, the candle, the account or the parameters, whichever has a field of that name.
    """
    parts: dict[str, Any] = {
        "technical": GOOD_TECHNICAL,
        "candle": GOOD_CANDLE,
        "account": TraderAccount(
            at=NOW,
            instrument=INSTRUMENT,
            fees=FEES,
            route=OpensHere(FEES.smallest_worthwhile_profit),
            equity_usd=Decimal(10_000),
        ),
    }
    parameters = APEX.model_copy(update={name: value for name, value in changes.items() if hasattr(APEX, name)})
    for name, value in changes.items():
        places = [part for part, values in parts.items() if hasattr(values, name)]
        assert places or hasattr(APEX, name), f"nothing has a field {name}"
        for part in places:
            parts[part] = replace(parts[part], **{name: value})
    return DecisionInputs(
        first_candle=STARTS_AT - 299 * FIVE_MINUTES,
        last_candle=STARTS_AT,
        candles=300,
        faults=(),
        position=held,
        parameters=parameters,
        **parts,
    )
