"""`nija positions`: shows the positions that copied fills built up for the followers."""

from collections.abc import Sequence
from typing import Annotated

import typer

from services.cli import output
from services.cli.arguments import about, chosen_broker, chosen_follower, reached_settings
from shared.config.operator import open_connections
from shared.domain.amounts import plain
from shared.persistence.errors import UnknownFollower
from shared.queries.ledger import PositionLine, read_positions


def positions(
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker's.")] = None,
    follower: Annotated[str | None, typer.Option("--follower", "-f", help="Only this follower's.")] = None,
    asset: Annotated[str | None, typer.Option("--asset", "-s", help="Only of this asset, such as BTC.")] = None,
    closed: Annotated[bool, typer.Option("--all", "-a", help="Those that are closed, too.")] = False,
    owed: Annotated[bool, typer.Option("--owed", help="Only those of which an exit is owed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Show the followers' copied positions.

    A copied position is what copied fills built up; coins that a follower had before or bought otherwise are
    never part of it. `still to sell` is what exits did not sell; the next exit sells it too. `owed` is the part of it
    that is large enough for an order now; `?` while Redis does not answer. `nija status` reports it after 10 s.
    """
    where = chosen_broker(broker)
    wanted = asset.upper() if asset else None
    follower_id = chosen_follower(follower)
    with (
        open_connections(reached_settings(), redis=True) as connections,
        output.progress("reading the ledger"),
        about("--follower", UnknownFollower),
    ):
        found = read_positions(connections, where, follower_id=follower_id, asset=wanted, closed=closed)
    if owed:
        # What is not known may be owed.
        found = [position for position in found if position.owed is None or position.owed]
    if as_json:
        output.print_json([position.model_dump(mode="json") for position in found])
    elif found:
        show_positions(found)
    else:
        asked = [where and f"at {where.value}", follower_id and f"of {follower_id}", wanted and f"in {wanted}"]
        what = "no copied positions" if closed else "no open copied positions"
        what = "no owed exits" if owed else what
        output.console.print(" ".join([what, *(text for text in asked if text)]))


def show_positions(found: Sequence[PositionLine]) -> None:
    """Print the positions as a table."""
    several, where = output.at_brokers([position.broker.value for position in found])
    shown = output.table(f"copied positions{where}")
    output.text_columns(shown, *(["broker"] if several else []), "follower", "asset")
    output.number_columns(shown, "quantity", "still to sell", "owed", "fill")
    output.text_columns(shown, output.when_heading())
    for position in found:
        shown.add_row(
            *([position.broker.value] if several else []),
            position.follower_id,
            position.asset,
            plain(position.quantity),
            output.short_amount(position.carried_exit),
            "?" if position.owed is None else output.short_amount(position.owed),
            str(position.sequence),
            output.moment(position.occurred_at),
        )
    output.show(shown)
