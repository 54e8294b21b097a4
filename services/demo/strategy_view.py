"""Shows what the strategy did in the demo, broker by broker, and whether the backtest decides alike."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.backtest.against_live import SameCount
from services.demo.figures import Figures
from services.demo.strategy_figures import StrategyFigures
from services.local_system.processes import MarketSpan
from shared.domain.identity import Broker
from shared.domain.strategy.decision import ExitReason

_SHOWN = 5
"""Differences on the screen."""


def strategy_screen(
    span: MarketSpan,
    strategy: Mapping[Broker, StrategyFigures],
    figures: Mapping[Broker, Figures],
    execution: Mapping[str, Any],
) -> RenderableType:
    """A column per broker, then what each way to buy costs; fits 80 columns. `execution`: of `execution_costs`."""
    table = Table(
        title=f"The strategy, {span.since:%Y-%m-%d %H:%M} to {span.until:%Y-%m-%d %H:%M} UTC",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column(no_wrap=True)
    for broker in strategy:
        table.add_column(broker.value, justify="right", no_wrap=True)
    for name, value in _BEFORE:
        table.add_row(name, *(value(found) for found in strategy.values()))
    reasons = [reason for reason in ExitReason if any(reason in found.exits for found in strategy.values())]
    for reason in reasons:
        name = f"sold: {reason.value.replace('_', ' ')}"
        table.add_row(name, *(str(found.exits.get(reason, 0)) for found in strategy.values()))
    for name, value in _AFTER:
        table.add_row(name, *(value(found) for found in strategy.values()))
    table.add_row("copies that were bought or sold", *(str(figures[broker].audited.copied) for broker in strategy))
    table.add_section()
    for name, same in _COMPARED:
        table.add_row(name, *(_share(same(found)) for found in strategy.values()))
    shown = (*_rejections(strategy), *_differences(strategy), _verdict(strategy))
    return Group(Text(), table, *shown, Text(), *_execution(execution))


def _execution(found: Mapping[str, Any]) -> tuple[RenderableType, ...]:
    """In basis points of the best ask, without fees; or why there are no figures."""
    if "error" in found:
        return (Text(f"The ways to buy could not be compared: {found['error']}", "bold red"),)
    # A title of the table would be wrapped to its width.
    title = Text(
        f"Buying {found['quantity']:g} BTC, half of the first 20 levels of a paper {found['broker']}", "italic"
    )
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    for name in ("orders", "bp above the best ask", "bp saved"):
        table.add_column(name, justify="right")
    for name, each in found["methods"].items():
        saved = found["saved_basis_points"].get(name)
        figures = f"{each['basis_points']:.2f}", "" if saved is None else f"{saved:.2f}"
        table.add_row(name, f"{each['orders']}", *figures)
    return title, table


def _rejections(strategy: Mapping[Broker, StrategyFigures]) -> list[Text]:
    reasons = Counter[str]()
    for found in strategy.values():
        reasons.update(found.rejected)
    why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return [Text(f"not bought because: {why}")] if why else []


def _differences(strategy: Mapping[Broker, StrategyFigures]) -> list[Text]:
    lines = [f"{broker.value}: {line}" for broker, found in strategy.items() for line in found.compared.differences]
    more = [f"and {len(lines) - _SHOWN} more; `--json` has all"] if len(lines) > _SHOWN else []
    return [Text(line, style="red") for line in (*lines[:_SHOWN], *more)]


def _verdict(strategy: Mapping[Broker, StrategyFigures]) -> Text:
    if all(found.is_sound for found in strategy.values()):
        whole = all(found.candles == found.expected for found in strategy.values())
        first = "Each candle was decided once" if whole else "Candles were left out around restarts"
        return Text(f"{first}, and the backtest decides alike to the last digit.", "bold green")
    if all(found.compared.all_equal for found in strategy.values()):
        return Text("The backtest decides alike, but candles were left out.", "bold red")
    return Text("The backtest decides otherwise.", "bold red")


def strategy_as_json(
    span: MarketSpan,
    strategy: Mapping[Broker, StrategyFigures],
    result: dict[str, Any],
    execution: Mapping[str, Any],
) -> dict[str, Any]:
    """Add what the strategy did, and what each way to buy costs, to the JSON object of the plain demo."""
    per_broker = {
        name: found | {"strategy": strategy[Broker(name)].as_json()} for name, found in result["brokers"].items()
    }
    return result | {
        "market_from": span.since.isoformat(),
        "market_until": span.until.isoformat(),
        "brokers": per_broker,
        "execution": dict(execution),
    }


def _share(found: SameCount) -> str:
    return f"{found.equal}/{found.compared}"


_BEFORE: tuple[tuple[str, Callable[[StrategyFigures], str]], ...] = (
    ("candles decided, of all", lambda found: f"{found.candles}/{found.expected}"),
    ("entries bought", lambda found: str(found.entries)),
    ("entries not bought", lambda found: str(sum(found.rejected.values()))),
)
_AFTER: tuple[tuple[str, Callable[[StrategyFigures], str]], ...] = (
    ("positions closed", lambda found: str(found.closed)),
    ("their profit, USD", lambda found: f"{found.profit:.2f}"),
    ("positions left open", lambda found: str(found.left)),
)
_COMPARED: tuple[tuple[str, Callable[[StrategyFigures], SameCount]], ...] = (
    ("same from the record", lambda found: found.compared.records),
    ("same from the file's window", lambda found: found.compared.windows),
    ("same filters and score", lambda found: found.compared.signals),
)
