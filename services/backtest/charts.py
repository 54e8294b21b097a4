"""Draws a backtest with matplotlib: the price with its trades, the equity and the drawdown.

matplotlib is not needed by anything else, so it is an extra of the package: `report`.
"""

import io
from collections.abc import Sequence
from typing import Any, Final

from services.backtest.result import BacktestResult, BacktestTrade, drawdowns
from shared.domain.errors import NijaError

_INCHES: Final = (12, 9)
_DOTS_PER_INCH: Final = 120
_NO_METADATA: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}
_PRICE, _EQUITY, _LOSS, _WIN = "#5b6770", "#1f5fa8", "#b3261e", "#1b7f3b"


class NoCharts(NijaError):
    """The library that draws is not installed."""


def png_of(result: BacktestResult) -> bytes:
    """Return the charts as a PNG file. Raises NoCharts."""
    return _drawn(result, "png")


def svg_of(result: BacktestResult) -> str:
    """Return the charts as an element for a page. Raises NoCharts."""
    text = _drawn(result, "svg").decode()
    return text[text.index("<svg") :]


def _drawn(result: BacktestResult, form: str) -> bytes:
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise NoCharts(
            "charts need matplotlib, which is not installed; install it with `pip install matplotlib`, "
            "or leave out --png and --html"
        ) from None
    # The same run gives the same file: without a date, and with ids that do not change.
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "nija",
        "font.size": 10,
        "axes.grid": True,
        "grid.alpha": 0.25,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        _draw(figure, result)
        file = io.BytesIO()
        figure.savefig(file, format=form, dpi=_DOTS_PER_INCH, metadata=_NO_METADATA if form == "svg" else None)
    return file.getvalue()


def _draw(figure: Any, result: BacktestResult) -> None:
    from matplotlib import dates

    price, equity, drawdown = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    times = [point.at for point in result.equity]
    values = [point.equity for point in result.equity]
    figure.suptitle(f"{result.symbol} at {result.broker}: {result.profit_share:+.2%}, {len(result.trades)} trades")
    price.plot(times, [float(point.price) for point in result.equity], color=_PRICE, linewidth=0.8)
    _mark_trades(price, result.trades)
    price.set_ylabel(result.symbol.quote)
    price.set_title("price and trades", loc="left", fontsize=10)
    equity.plot(times, [float(value) for value in values], color=_EQUITY, linewidth=1.2)
    equity.axhline(float(result.equity_before), color=_PRICE, linewidth=0.6, linestyle="--")
    equity.set_ylabel("USD")
    equity.set_title("equity", loc="left", fontsize=10)
    below = [-float(share) * 100 for share in drawdowns(values)]
    drawdown.fill_between(times, below, 0, color=_LOSS, alpha=0.35, linewidth=0)
    drawdown.set_ylabel("%")
    drawdown.set_title("drawdown", loc="left", fontsize=10)
    for axes in (price, equity):
        axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    drawdown.set_xlabel("UTC")
    places = dates.AutoDateLocator()
    drawdown.xaxis.set_major_locator(places)
    drawdown.xaxis.set_major_formatter(dates.ConciseDateFormatter(places))
    drawdown.set_xlim(result.starts_at, result.ends_at)


def _mark_trades(axes: Any, trades: Sequence[BacktestTrade]) -> None:
    """Mark purchases by triangles, sales by crosses, and connect both in the colour of the result."""
    for name, color, chosen in (
        ("profit", _WIN, [trade for trade in trades if trade.net_profit > 0]),
        ("loss", _LOSS, [trade for trade in trades if trade.net_profit <= 0]),
    ):
        if not chosen:
            continue
        sales = [sale for trade in chosen for sale in trade.exits]
        axes.scatter(
            [trade.opened_at for trade in chosen],
            [float(trade.entry_price) for trade in chosen],
            marker="^",
            s=34,
            color=color,
            zorder=3,
            label=f"bought, later with a {name}",
        )
        axes.scatter(
            [sale.at for sale in sales],
            [float(sale.price) for sale in sales],
            marker="x",
            s=30,
            color=color,
            zorder=3,
            label=f"sold with a {name}",
        )
        for trade in chosen:
            last = trade.exits[-1]
            axes.plot(
                [trade.opened_at, last.at],
                [float(trade.entry_price), float(last.price)],
                color=color,
                linewidth=0.8,
                alpha=0.7,
            )
    if trades:
        axes.legend(loc="best", fontsize=8, framealpha=0.85)
