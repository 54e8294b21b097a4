"""`nija replay FILL`: the decisions for a past fill computed again. A fill in; identical, or what differs, out."""

from datetime import timedelta
from typing import Annotated

import typer

from services.cli import output
from services.cli.ledger import asked_fill, chosen_broker, open_ledger
from shared.config import ConfigurationError
from shared.domain.amounts import plain
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.replay import Difference, differences
from shared.domain.identity import Broker


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

    Exit code 0: all come out as recorded. 1: some do not, and each difference is shown: the planner has changed
    since, or NIJA_SNAPSHOT_MAX_AGE_SECONDS has (the one input that is a setting and not in the ledger).
    """
    name, where = asked_fill(fill, chosen_broker(broker))
    with open_ledger() as desk, output.progress("computing"):
        maximum_age = timedelta(seconds=desk.settings.snapshot_max_age_seconds)
        chosen = _the_one(desk.decisions.fills(name, where), name, where)
        recorded = desk.decisions.of(chosen)
        found = [difference for each in recorded for difference in differences(chosen, each, maximum_age)]
    followers = len({difference.follower_id for difference in found})
    if as_json:
        output.print_json(
            {
                "fill": chosen.model_dump(mode="json"),
                "decisions": len(recorded),
                "identical": len(recorded) - followers,
                "different": followers,
                "differences": [difference.model_dump(mode="json") for difference in found],
                "snapshot_max_age_seconds": maximum_age.total_seconds(),
            }
        )
    else:
        _print(chosen, len(recorded), followers, found)
    if found:
        raise typer.Exit(1)


def _the_one(fills: list[MasterFill], asked: str, broker: Broker | None) -> MasterFill:
    if not fills:
        where = f" at {broker.value}" if broker else ""
        raise ConfigurationError(f"FILL: there is no fill {asked!r}{where}; `nija fills` shows which there are")
    if len(fills) > 1:
        # The number is the shorter name, so where one fill's id is another one's number the number is meant.
        by_number = [fill for fill in fills if str(fill.sequence) == asked]
        if len(by_number) == 1:
            return by_number[0]
        brokers = sorted({fill.broker.value for fill in fills})
        if len(brokers) > 1:
            raise ConfigurationError(
                f"FILL: {asked!r} is a fill of {', '.join(brokers)}; choose one: {brokers[0]}:{asked}"
            )
        numbers = ", ".join(str(fill.sequence) for fill in fills)
        raise ConfigurationError(f"FILL: {asked!r} is the id of several fills; give the number: {numbers}")
    return fills[0]


def _print(fill: MasterFill, decisions: int, different: int, found: list[Difference]) -> None:
    what = f"fill {fill.sequence} at {fill.broker.value}: {fill.side} {plain(fill.quantity)} {fill.symbol}"
    output.console.print(f"{what} at {plain(fill.price)}")
    if not found:
        output.console.print(f"{output.counted(decisions, 'decision')} computed again, all identical", style="green")
        return
    shown = output.table()
    output.text_columns(shown, "follower", "what", "recorded", "computed now")
    for difference in found:
        values = difference.model_dump(mode="json")
        shown.add_row(
            difference.follower_id,
            difference.field.replace("_", " "),
            *("–" if values[name] is None else str(values[name]) for name in ("recorded", "computed")),
        )
    output.show(shown)
    output.console.print(
        f"✗ {different} of {output.counted(decisions, 'decision')} {'comes' if different == 1 else 'come'} out differently",
        style="red",
    )
