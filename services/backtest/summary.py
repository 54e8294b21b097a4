"""Puts the figures of a backtest into words, for the table of the command line and for the page."""

from collections.abc import Iterator
from decimal import Decimal

from services.backtest.result import BacktestResult
from shared.domain.amounts import plain
from shared.domain.strategy.parameters import APEX, ApexParameters


def summary_of(result: BacktestResult) -> list[tuple[str, str]]:
    """Return the figures of a run, each with its name."""
    days = (result.ends_at - result.starts_at).total_seconds() / 86_400
    factor = result.profit_factor
    return [
        ("decided", f"{result.candles:,} candles, {days:.1f} days"),
        ("equity before", f"{result.equity_before:,.2f} USD"),
        ("equity after", f"{result.equity_after:,.2f} USD ({result.profit_share:+.2%})"),
        ("price in the same time", f"{result.price_share:+.2%}"),
        ("largest drawdown", f"{result.largest_drawdown:.2%}"),
        ("fees", f"{result.fees:,.2f} USD"),
        ("trades", f"{len(result.trades)}, {result.winners} with a profit"),
        ("profits / losses", "–" if factor is None else f"{factor:.2f}"),
        ("time in the market", f"{result.time_in_market:.1%}"),
        ("position left open", "yes" if result.position_open else "no"),
        *((f"not bought: {reason}", f"{count:,}") for reason, count in result.not_bought.items()),
        ("speed", f"{result.candles_per_second:,.0f} candles a second"),
    ]


def changed_parameters(parameters: ApexParameters) -> Iterator[tuple[str, str]]:
    """Yield the parameters that differ from their defaults."""
    for name in ApexParameters.model_fields:
        value = getattr(parameters, name)
        if value != getattr(APEX, name):
            yield name, plain(value) if isinstance(value, Decimal) else str(value)
