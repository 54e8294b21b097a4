"""`nija followers pause`, `resume` and `remove`: the commands that change a status."""

import sys
from typing import Annotated

import typer

from services.cli import output
from services.cli.actor import actor
from services.cli.arguments import about, chosen_broker, reached_settings, reached_system
from services.cli.followers.options import (
    AllOption,
    BrokerOption,
    BrokerToResume,
    FollowerArgument,
    FollowerUnlessAll,
    JsonOption,
    NoCheckOption,
    ReasonOption,
)
from services.cli.followers.output import print_notes, print_result, print_resumed, stays_open
from shared.actions.followers import FollowerResult, pause_follower, remove_follower, resume_follower
from shared.actions.resume_followers import resume_disabled_followers
from shared.config import ConfigurationError, Settings
from shared.config.operator import Keys, open_actions, open_connections
from shared.domain.identity import Broker, FollowerId
from shared.persistence.errors import AmbiguousFollower
from shared.queries.followers import open_positions, read_follower


def pause(
    follower: FollowerArgument, broker: BrokerOption = None, reason: ReasonOption = "", as_json: JsonOption = False
) -> None:
    """Skip opens from now on; exits go on."""
    where = chosen_broker(broker)
    with open_actions(reached_settings()) as context, about("--broker", AmbiguousFollower):
        result = pause_follower(context, FollowerId(follower), where, actor=actor(), reason=reason)
    _print_status(result, as_json=as_json)


def resume(
    follower: FollowerUnlessAll = None,
    broker: BrokerToResume = None,
    every: AllOption = False,
    no_check: NoCheckOption = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Copy again after a pause, or after nija disabled the follower because the broker refused its key.

    After a refusal the broker is asked again what the key may do. A key that it still refuses must be replaced.
    """
    if (follower is None) != every:
        raise ConfigurationError("name one follower, or give --all for every follower that nija disabled")
    where = chosen_broker(broker)
    settings, all_paper = reached_system()
    with (
        open_actions(settings, keys=Keys.IF_SET, all_paper=all_paper) as context,
        about("--broker", AmbiguousFollower),
        output.progress("asking the broker what the key may do"),
    ):
        if follower is None:
            found = resume_disabled_followers(context, where, check=not no_check, actor=actor(), reason=reason)
        else:
            result = resume_follower(
                context, FollowerId(follower), where, check=not no_check, actor=actor(), reason=reason
            )
    if follower is None:
        print_resumed(found, as_json=as_json)
        raise typer.Exit(1 if found.still_disabled else 0)
    print_notes(result.notes)
    _print_status(result, as_json=as_json)


def remove(
    follower: FollowerArgument,
    broker: BrokerOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also remove it if an order has no known outcome, which then stays unknown.")
    ] = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Wipe a follower's keys and never trade for it again; its history stays, and so does its id.

    Positions that were copied for it stay open at the broker: they are the account owner's from now on.
    """
    where, follower_id = chosen_broker(broker), FollowerId(follower)
    settings = reached_settings()
    if sys.stdin.isatty() and not as_json:
        _confirm(settings, follower_id, where)
    with open_actions(settings) as context, about("--broker", AmbiguousFollower):
        result = remove_follower(context, follower_id, where, with_unsettled_order=force, actor=actor(), reason=reason)
    print_result(result.follower, "removed; its id stays taken", as_json=as_json)
    if result.stays_open and not as_json:
        output.console.print(stays_open(result.stays_open))


def _confirm(settings: Settings, follower_id: FollowerId, broker: Broker | None) -> None:
    with open_connections(settings) as connections, about("--broker", AmbiguousFollower):
        record = read_follower(connections, follower_id, broker)
        held = open_positions(connections, record)
    question = f"wipe the keys of {record.follower_id} at {record.broker.value} permanently?"
    typer.confirm(f"{stays_open(held)}\n{question}" if held else question, abort=True, err=True)


def _print_status(result: FollowerResult, *, as_json: bool) -> None:
    status = result.follower.status.value
    print_result(result.follower, f"is {status}" if result.changed else f"was {status} already", as_json=as_json)
