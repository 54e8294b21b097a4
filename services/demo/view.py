"""Shows the demo on the screen: each fill as it arrives at the followers, then the figures."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.demo.figures import Figures, Latencies
from shared.domain.amounts import plain
from shared.domain.identity import Broker
from shared.persistence.reports.reports import FillReport

_SHOWN = 10
"""Findings on the screen."""
_STAGE_MEANINGS = {
    "detect": "executed at the broker → published to the stream",
    "plan": "published → decided and delivered to the mailbox",
    "queue": "delivered → send begun by a worker",
    "broker": "send begun → final state read back",
    "total": "executed on the master → settled on the follower",
}


def fills_table(fills: Sequence[FillReport], labels: dict[str, str], title: str) -> Table:
    """A row per fill, oldest first; fits 80 columns."""
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=0)
    with_broker = len({fill.broker for fill in fills}) > 1
    if with_broker:
        table.add_column("broker", no_wrap=True)
    table.add_column("#", justify="right", no_wrap=True, min_width=2)
    table.add_column("the master")  # the one that wraps: no number is ever cut
    table.add_column("copied", justify="right", no_wrap=True, style="green")
    table.add_column("skip", justify="right", no_wrap=True, style="yellow")
    table.add_column("fail", justify="right", no_wrap=True, style="red")
    table.add_column("pend", justify="right", no_wrap=True, style="cyan")
    table.add_column("ms", justify="right", no_wrap=True)
    for fill in sorted(fills, key=lambda each: (each.executed_at, each.sequence)):
        label = labels.get(fill.fill_id, fill.side)
        quantity = plain(round(fill.quantity, 5))
        table.add_row(
            *([fill.broker.value] if with_broker else []),
            str(fill.sequence),
            f"{label} {quantity} {fill.symbol.partition('/')[0]} at {fill.price:,.2f}",
            str(fill.copied),
            str(fill.skipped),
            str(fill.failed),
            str(fill.pending),
            _milliseconds(fill.latency_ms["total"].p50),
        )
    return table


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def final_screen(figures: Mapping[Broker, Figures], latency_ms: Latencies) -> RenderableType:
    """Latency per stage, and the comparison with each broker's own log."""
    latency = Table(title="Latency per stage", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    latency.add_column("stage")
    latency.add_column("p50 ms", justify="right", no_wrap=True)
    latency.add_column("p99 ms", justify="right", no_wrap=True)
    latency.add_column("from → to", style="dim")
    for stage, measured in latency_ms.items():
        latency.add_row(stage, _milliseconds(measured.p50), _milliseconds(measured.p99), _STAGE_MEANINGS[stage])
    comparison = Table(
        title="The ledger compared with the paper brokers' own order logs",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    comparison.add_column()
    for broker in figures:
        comparison.add_column(broker.value, justify="right", no_wrap=True)
    for name, value in _ROWS:
        comparison.add_row(name, *(value(found) for found in figures.values()))
    reasons = Counter[str]()
    for found in figures.values():
        reasons.update(found.skip_reasons)
    why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    verdict = (
        Text("Every fill reached every follower once.", style="bold green")
        if all(found.is_sound for found in figures.values())
        else Text("The comparison found differences.", style="bold red")
    )
    skipped = Text(f"skipped because: {why}" if why else "")
    return Group(Text(), latency, Text(), comparison, skipped, Text(), _as_they_are(figures), verdict)


def _as_they_are(figures: Mapping[Broker, Figures]) -> RenderableType:
    """A row per special follower: how many of its copies ended as is right for it. Below, each that did not."""
    table = Table(
        title="Followers as they are: copies that are right, of all",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column(no_wrap=True)
    table.add_column("right is")
    for broker in figures:
        table.add_column(broker.value, justify="right", no_wrap=True)
    for special in next(iter(figures.values())).as_they_are.specials:
        results = [found.as_they_are.results[special.name] for found in figures.values()]
        table.add_row(special.name, special.right, *(f"{each.right}/{each.copies}" for each in results))
    wrong = [
        Text(f"{broker.value}: {line}", style="red") for broker, found in figures.items() for line in found.findings
    ]
    more = [Text(f"and {len(wrong) - _SHOWN} more; `--json` has all", style="red")] if len(wrong) > _SHOWN else []
    return Group(table, *wrong[:_SHOWN], *more)


_ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("followers × fills", lambda found: str(found.followers * len(found.fills))),
    ("copied", lambda found: str(found.audited.copied)),
    ("skipped", lambda found: str(found.audited.skipped)),
    ("failed", lambda found: str(found.audited.failed)),
    ("pending", lambda found: str(found.audited.pending)),
    ("missing orders or fills", lambda found: str(found.audited.missing)),
    ("duplicate orders", lambda found: str(found.audited.duplicates)),
    ("quantities that differ", lambda found: str(found.audited.mismatched)),
    ("largest position error, lots", lambda found: f"{found.audited.max_position_error_lots:.3f}"),
    ("copied positions left", lambda found: str(found.audited.open_positions)),
    ("own coins touched", lambda found: str(len(found.coins_sold))),
)


def console_for(*, json_output: bool) -> Console:
    """The console for everything but the JSON object, which has standard output for itself."""
    return Console(stderr=json_output, highlight=False)
