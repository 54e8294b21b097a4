"""`nija fills`: shows the executions of the masters, and how each ended for the followers."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from services.cli import output
from services.cli.arguments import chosen_broker, reached_settings
from shared.config.operator import open_connections
from shared.domain.amounts import plain
from shared.queries.ledger import FillReport, read_fills


def fills(
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker's.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many, the newest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, newest first.")] = False,
) -> None:
    """Show the masters' fills, newest first, and how each ended for the followers.

    The total is the number of followers of the fill: copied + skipped + failed + pending. The latency is the time from
    the execution on the master account to the settled copy. A second table shows the reasons, with their numbers.
    `nija orders --fill N` shows the copies of one fill, and `nija replay N` (`nija replay kraken:N`) computes its
    decisions again. In JSON, the total is `followers`.
    """
    where = chosen_broker(broker)
    with open_connections(reached_settings()) as connections, output.progress("reading the ledger"):
        found = read_fills(connections, where, limit=limit)
    if as_json:
        output.print_json([fill.model_dump(mode="json") for fill in found])
    elif found:
        show_fills(found)
    else:
        output.console.print(f"no fills{f' at {where.value}' if where else ''} yet: the masters have not traded")


def show_fills(found: Sequence[FillReport]) -> None:
    """Print the fills as a table, and the reasons as a second one."""
    several, where = output.at_brokers([fill.broker.value for fill in found])
    shown = output.table(f"newest fills{where}")
    output.number_columns(shown, "fill")
    # A column for the broker would leave too little for the others at 80 columns.
    output.text_columns(shown, output.when_heading(), "the master")
    output.number_columns(shown, "total", "copied", "skipped", "failed", "pending", "p50 ms", "p99 ms")
    for fill in found:
        total = fill.latency_ms["total"]
        shown.add_row(
            str(fill.sequence),
            output.moment(fill.executed_at),
            f"{f'{fill.broker.value}: ' if several else ''}{fill.side} {plain(fill.quantity)} {fill.symbol} at {plain(fill.price)}",
            *(str(count) for count in (fill.followers, fill.copied, fill.skipped, fill.failed, fill.pending)),
            output.milliseconds(total.p50),
            output.milliseconds(total.p99),
        )
    output.show(shown)
    _show_reasons([fill for fill in found if fill.skipped or fill.failed], several=several)


def _show_reasons(fills: Sequence[FillReport], *, several: bool) -> None:
    if not fills:
        return
    shown = output.table("why copies were skipped or failed")
    output.number_columns(shown, "fill")
    output.text_columns(shown, *(["broker"] if several else []), "skipped", "failed")
    for fill in fills:
        shown.add_row(
            str(fill.sequence),
            *([fill.broker.value] if several else []),
            _counts(fill.skipped_by_reason),
            _counts(fill.failed_by_reason),
        )
    output.show(shown)


def _counts(by_reason: Mapping[str, int]) -> str:
    # One line for each reason, so that no number is separated from its reason.
    return "\n".join(f"{count} {reason}" for reason, count in by_reason.items())
