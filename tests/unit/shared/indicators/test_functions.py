"""Tests the indicators against published worked examples, a second library and closed forms."""

from collections.abc import Callable

import numpy as np
import pytest
import talipp.indicators as second
from talipp.ohlcv import OHLCV

from shared.indicators.functions import Series, adx, atr, ema, macd_histogram, rsi, typical_prices, vwaps
from tests.support import indicator_references as published


def test_rsi_is_the_published_one() -> None:
    """All nineteen values of the worked example agree, from the first one on."""
    assert rsi(published.RSI_CLOSES)[14:] == pytest.approx(published.RSI_VALUES, abs=0.005)


def test_atr_is_the_published_one() -> None:
    """The example counts the range of its first candle. So does TA-Lib, if a candle without a gap stands before it."""
    highs, lows, closes = (
        np.concatenate([series[:1], series])
        for series in (published.ATR_HIGHS, published.ATR_LOWS, published.ATR_CLOSES)
    )
    assert atr(highs, lows, closes)[14] == pytest.approx(0.555, abs=1e-6)
    assert atr(highs, lows, closes)[-6:] == pytest.approx(published.ATR_VALUES, abs=1e-5)


def test_adx_is_the_published_one() -> None:
    """The example has one more movement in its first sum. A hundred candles later, 0.06 of that is left."""
    highs, lows, closes = published.ADX_CANDLES.T.copy()
    assert adx(highs, lows, closes)[-4:] == pytest.approx(published.ADX_VALUES, abs=0.06)


def test_the_second_library_has_the_published_adx() -> None:
    """It sums like the example, so it agrees with it to the last published digits, and with TA-Lib after 300 candles."""
    candles = [OHLCV(close, high, low, close, 1.0) for high, low, close in published.ADX_CANDLES.tolist()]
    values = [value.adx for value in list(second.ADX(14, 14, candles))[-4:]]
    assert values == pytest.approx(published.ADX_VALUES, abs=1e-4)


def test_macd_is_the_published_one() -> None:
    """The example seeds its fast average earlier, which has faded after forty candles."""
    assert macd_histogram(published.MACD_CLOSES)[-1] == pytest.approx(published.MACD_HISTOGRAM, abs=0.015)


@pytest.fixture(scope="module")
def walk() -> tuple[Series, Series, Series]:
    """Highs, lows and closes of a random walk with the length of a window."""
    random = np.random.default_rng(7)
    closes = 1000 + np.cumsum(random.normal(size=300))
    return closes + random.random(300) * 3, closes - random.random(300) * 3, closes


def as_candles(walk: tuple[Series, Series, Series]) -> list[OHLCV]:
    """The walk in the form of the second library."""
    return [OHLCV(close, high, low, close, 1.0) for high, low, close in zip(*walk, strict=True)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda _, __, closes: ema(closes, 9), lambda w: second.EMA(9, list(w[2]))[-1]),
        (lambda _, __, closes: ema(closes, 21), lambda w: second.EMA(21, list(w[2]))[-1]),
        (lambda _, __, closes: ema(closes, 50), lambda w: second.EMA(50, list(w[2]))[-1]),
        (lambda _, __, closes: macd_histogram(closes), lambda w: second.MACD(12, 26, 9, list(w[2]))[-1].histogram),
        (lambda _, __, closes: rsi(closes), lambda w: second.RSI(14, list(w[2]))[-1]),
        (atr, lambda w: second.ATR(14, as_candles(w))[-1]),
        (adx, lambda w: second.ADX(14, 14, as_candles(w))[-1].adx),
    ],
    ids=["ema-9", "ema-21", "ema-50", "macd", "rsi", "atr", "adx"],
)
def test_a_second_library_computes_the_same(
    walk: tuple[Series, Series, Series], ours: Callable[..., Series], theirs: Callable[..., float]
) -> None:
    """At the end of a window of 300 candles, no seed makes a difference above a millionth."""
    assert ours(*walk)[-1] == pytest.approx(theirs(walk), abs=1e-6)


def test_vwap_weighs_the_typical_price_by_volume() -> None:
    """Two candles with the typical prices 10 and 16: at volumes 1 and 2, the mean is 14."""
    highs, lows, closes = np.array([12.0, 18.0]), np.array([8.0, 14.0]), np.array([10.0, 16.0])
    typical, volumes = typical_prices(highs, lows, closes), np.array([1.0, 2.0])
    assert list(typical) == [10, 16]
    assert vwaps(typical * volumes, volumes, 2) == pytest.approx([14])
    assert vwaps(typical * volumes, volumes, 1) == pytest.approx([10, 16])
    assert np.isnan(vwaps(np.zeros(2), np.zeros(2), 2)).all()
    assert len(vwaps(typical, volumes, 3)) == 0


def test_a_vwap_does_not_depend_on_where_its_series_begins(walk: tuple[Series, Series, Series]) -> None:
    """Its last digit is that of a plain sum over the hundred candles, also across the parts in which a file is summed."""
    closes = np.concatenate([walk[2]] * 30)
    volumes = closes % 7 + 1
    whole = vwaps(closes * volumes, volumes, 100)
    assert len(whole) == len(closes) - 99 > 2 * 4096
    for end in (100, 101, 4095, 4096, 4097, 4195, 8999):
        part = slice(end - 100, end)
        assert whole[end - 100] == (closes * volumes)[part].sum() / volumes[part].sum()
