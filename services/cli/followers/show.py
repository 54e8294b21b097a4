"""`nija followers list` and `show`."""

from typing import Annotated

import typer

from services.cli import output
from services.cli.arguments import about, chosen_broker, reached_settings
from services.cli.followers.options import BrokerOption, FollowerArgument, JsonOption
from services.cli.followers.output import details_json, print_follower, print_list, record_json
from shared.config.operator import Keys, open_connections
from shared.domain.identity import FollowerId
from shared.persistence.errors import AmbiguousFollower
from shared.queries.followers import read_details, read_followers


def list_followers(
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker's.")] = None,
    removed: Annotated[bool, typer.Option("--removed", help="Those that were removed, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the followers with how their fills ended."""
    where = chosen_broker(broker)
    with open_connections(reached_settings()) as connections, output.progress("reading the ledger"):
        found = read_followers(connections, where, removed=removed)
    if as_json:
        present = [line.model_dump(mode="json") for line in found.present]
        output.print_json(present + [record_json(record) for record in found.removed])
    else:
        print_list(found)


def show(follower: FollowerArgument, broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """Show one follower: status, policy, masked key, and who changed what."""
    where = chosen_broker(broker)
    with (
        open_connections(reached_settings(), keys=Keys.IF_SET) as connections,
        about("--broker", AmbiguousFollower),
    ):
        found = read_details(connections, FollowerId(follower), where)
    if as_json:
        output.print_json(details_json(found))
    else:
        print_follower(found)
