"""Tests the figures of a backtest's report, its charts and its page."""

import re
import struct
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from services.backtest.charts import NoCharts, png_of, svg_of
from services.backtest.page import page_of
from services.backtest.result import EquityPoint, drawdowns, monthly_returns
from services.backtest.summary import summary_of
from shared.domain.strategy.parameters import APEX
from tests.support.backtests import one_trade

D = Decimal
RESULT = one_trade()


def points(*values: tuple[str, str]) -> tuple[EquityPoint, ...]:
    """Equities at these moments."""
    return tuple(
        EquityPoint(at=datetime.fromisoformat(at).replace(tzinfo=UTC), equity=D(equity), price=D(100))
        for at, equity in values
    )


def test_a_month_ends_with_its_last_close() -> None:
    """A candle that closes at midnight belongs to the old month; each month starts from the end of the one before."""
    result = RESULT.model_copy(
        update={
            "equity": points(
                ("2024-01-31T23:55", "10500"),
                ("2024-02-01T00:00", "11000"),
                ("2024-02-29T12:00", "9900"),
                ("2024-04-01T00:05", "9900"),
            )
        }
    )
    months = monthly_returns(result)
    assert [(each.month, each.share) for each in months] == [
        (date(2024, 1, 1), D("0.1")),
        (date(2024, 2, 1), D("-0.1")),
        (date(2024, 4, 1), D(0)),
    ]
    assert [each.trades for each in months] == [1, 0, 0]


def test_a_drawdown_is_measured_from_the_highest_value_before() -> None:
    """From 120, 90 is a quarter below; a new peak begins again at nothing."""
    assert drawdowns([D(100), D(80), D(120), D(90), D(130)]) == [D(0), D("0.2"), D(0), D("0.25"), D(0)]


def test_the_figures_follow_from_the_trades() -> None:
    """One trade with a profit has no losses to divide by, and was open for two of four candles."""
    assert (RESULT.winners, RESULT.profit_factor) == (1, None)
    lost = RESULT.trades[0].model_copy(update={"net_profit": -RESULT.trades[0].net_profit / 2})
    both = RESULT.model_copy(update={"trades": (*RESULT.trades, lost)})
    assert (both.winners, both.profit_factor) == (1, D(2))
    assert RESULT.time_in_market == pytest.approx(0.5)
    assert RESULT.price_share == (D(3290) - D(3152)) / D(3152)
    assert dict(summary_of(RESULT))["trades"] == "1, 1 with a profit"


def test_the_png_is_a_picture_of_the_size_that_was_drawn() -> None:
    """1,440 × 1,080 pixels, and the same bytes for the same run."""
    content = png_of(RESULT)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (1440, 1080)
    assert png_of(RESULT) == content


def test_the_charts_show_price_trades_equity_and_drawdown() -> None:
    """The words of the charts are text, so a search in the page finds them."""
    svg = svg_of(RESULT)
    for word in ("price and trades", "equity", "drawdown", "bought, later with a profit", "UTC"):
        assert f">{word}<" in svg
    assert "with a loss" not in svg
    without = svg_of(RESULT.model_copy(update={"trades": ()}))
    assert "bought" not in without


class _Addresses(HTMLParser):
    """Collects what a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "data"}]


def test_the_page_needs_no_other_file() -> None:
    """Every address is a place within the page; there is no script, no import and no font from elsewhere."""
    page = page_of(RESULT)
    parser = _Addresses()
    parser.feed(page)
    assert [address for address in parser.found if not address.startswith("#")] == []
    assert not parser.tags & {"script", "link", "img", "iframe"}
    assert re.findall(r"@import|url\((?!#)", page) == []


def test_the_page_has_everything_that_the_figures_rest_on() -> None:
    """Months, trades with their exits, decisions, gaps, changed parameters and each assumption."""
    result = one_trade(parameters=APEX.with_setting("near", "0.01"))
    page = page_of(result)
    assert "<th>Jan</th>" in page
    assert page.count("target at ") == 3
    assert "near = 0.01" in page
    assert "2023-12-31 23:55 to 2024-01-01 00:00 UTC" in page
    for assumption in result.assumptions:
        assert assumption.replace("'", "&#x27;") in page
    assert "There was no trade." in page_of(result.model_copy(update={"trades": ()}))


def test_without_matplotlib_the_option_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else of a backtest needs it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(NoCharts, match="pip install matplotlib"):
        png_of(RESULT)
