"""Writes the report of a backtest as one HTML page that needs no other file and no network."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape
from typing import Final

from services.backtest.charts import svg_of
from services.backtest.result import BacktestResult, BacktestTrade, monthly_returns
from services.backtest.summary import changed_parameters, summary_of

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2024; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
svg { width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #dde1e5; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td:last-child { white-space: normal; }
thead th { border-bottom: 2px solid #9aa3ab; }
.gain { color: #1b7f3b; } .loss { color: #b3261e; }
"""


def page_of(result: BacktestResult) -> str:
    """Return the page. Raises NoCharts when matplotlib is not installed."""
    title = f"Backtest of {result.symbol} at {result.broker}"
    span = f"{result.starts_at:%Y-%m-%d %H:%M} to {result.ends_at:%Y-%m-%d %H:%M} UTC"
    parts = [
        f"<h1>{escape(title)}</h1><p>{span}</p>",
        _table(None, ((name, escape(value)) for name, value in summary_of(result))),
        "<h2>Price, equity and drawdown</h2>",
        svg_of(result).replace("<svg", '<svg role="img" aria-label="Price with trades, equity and drawdown"', 1),
        "<h2>Change of equity by month</h2>",
        _months(result),
        "<h2>Trades</h2>",
        _trades(result.trades),
        "<h2>Decisions</h2>",
        _table(("decision", "candles"), ((escape(name), f"{count:,}") for name, count in result.decisions.items())),
        *_lists(result),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _months(result: BacktestResult) -> str:
    """A row for each year and a column for each month, with the change of the year at the end."""
    years: dict[int, dict[int, Decimal]] = defaultdict(dict)
    for each in monthly_returns(result):
        years[each.month.year][each.month.month] = each.share
    rows = []
    for year, months in years.items():
        whole = Decimal(1)
        for share in months.values():
            whole *= 1 + share
        cells = [_share(months.get(number)) for number in range(1, len(_MONTHS) + 1)]
        rows.append((str(year), *cells, _share(whole - 1)))
    return _table(("year", *_MONTHS, "year"), rows)


def _trades(trades: Sequence[BacktestTrade]) -> str:
    if not trades:
        return "<p>There was no trade.</p>"
    rows = (
        (
            f"{trade.opened_at:%Y-%m-%d %H:%M}",
            f"{trade.closed_at:%Y-%m-%d %H:%M}",
            f"{trade.quantity:.8f}",
            f"{trade.entry_price:,.2f}",
            f"{trade.first_stop:,.2f}",
            _signed(trade.net_profit, f"{trade.net_profit:+,.2f}"),
            ", ".join(f"{sale.reason} at {sale.price:,.2f}" for sale in trade.exits),
        )
        for trade in trades
    )
    return _table(("bought (UTC)", "sold", "quantity", "price", "first stop", "net USD", "exits"), rows)


def _lists(result: BacktestResult) -> Iterable[str]:
    gaps = [f"{gap.starts_at:%Y-%m-%d %H:%M} to {gap.ends_at:%Y-%m-%d %H:%M} UTC" for gap in result.gaps]
    changed = [f"{name} = {value}" for name, value in changed_parameters(result.parameters)]
    for heading, items in (
        ("Gaps of the file, which are not traded over", gaps),
        ("Changed parameters", changed),
        ("What is assumed", result.assumptions),
    ):
        if items:
            yield f"<h2>{heading}</h2><ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def _share(share: Decimal | None) -> str:
    return "" if share is None else _signed(share, f"{share:+.2%}")


def _signed(value: Decimal, text: str) -> str:
    return f'<span class="{"loss" if value < 0 else "gain"}">{text}</span>' if value else text


def _table(heading: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    head = "" if heading is None else f"<thead><tr>{''.join(f'<th>{name}</th>' for name in heading)}</tr></thead>"
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'
