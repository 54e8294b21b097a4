"""`nija replay FILL`: computes the decisions for a past fill again and shows what differs."""

from datetime import timedelta
from typing import Annotated

import typer

from services.cli import output
from services.cli.arguments import about, chosen_broker, reached_settings
from shared.config.operator import open_connections
from shared.domain.amounts import plain
from shared.queries.fill_names import ContradictingBrokers, FillName, UnknownFill
from shared.queries.replay import ReplayResult, replay_fill


def replay(
    fill: Annotated[
        str,
        typer.Argument(
            help="The fill's number as `nija fills` shows it: 12, or kraken:12 where several brokers have one. Or its id at the broker, which `nija fills --json` shows."
        ),
    ],
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Where, if several have such a fill.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compute the decisions for a past fill again, from the inputs in the ledger.

    Exit code 0: all are the same as recorded. 1: some are not, and each difference is shown. Then the planner has
    changed since, or NIJA_SNAPSHOT_MAX_AGE_SECONDS has (the one input that is a setting and not in the ledger).
    """
    with about("--broker", ContradictingBrokers):
        asked = FillName.parse(fill, chosen_broker(broker))
    settings = reached_settings()
    maximum_age = timedelta(seconds=settings.snapshot_max_age_seconds)
    with open_connections(settings) as connections, output.progress("computing"), about("FILL", UnknownFill):
        found = replay_fill(connections, asked, maximum_age=maximum_age)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
    else:
        _print(found)
    if found.differences:
        raise typer.Exit(1)


def _print(found: ReplayResult) -> None:
    fill = found.fill
    what = f"fill {fill.sequence} at {fill.broker.value}: {fill.side} {plain(fill.quantity)} {fill.symbol}"
    output.console.print(f"{what} at {plain(fill.price)}")
    decisions = output.counted(found.decisions, "decision")
    if not found.differences:
        output.console.print(f"{decisions} computed again, all identical", style="green")
        return
    shown = output.table()
    output.text_columns(shown, "follower", "what", "recorded", "computed now")
    for difference in found.differences:
        values = difference.model_dump(mode="json")
        shown.add_row(
            difference.follower_id,
            difference.field.replace("_", " "),
            *("–" if values[name] is None else str(values[name]) for name in ("recorded", "computed")),
        )
    output.show(shown)
    verb = "comes" if found.different == 1 else "come"
    output.console.print(f"✗ {found.different} of {decisions} {verb} out differently", style="red")
