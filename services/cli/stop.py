"""`nija stop` and `nija resume`: stop and resume trading everywhere, at one broker or for one follower."""

import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from services.cli import output
from services.cli.actor import actor
from services.cli.arguments import about, chosen_broker, chosen_follower, reached_settings
from shared.actions.stop import StopResult, resume_trading, stop_trading
from shared.config import ConfigurationError, Settings
from shared.config.operator import open_actions, open_connections
from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import Stop, StopMode
from shared.persistence.errors import AmbiguousFollower, UnknownFollower
from shared.queries.stops import StopPreview, preview_stop, without_seller

_EFFECTS: Final = {
    StopMode.HALT: "No new order is sent. Opens are skipped, and exits wait until trading is resumed.",
    StopMode.CLOSE_ONLY: "Opens are skipped, and exits go on.",
    StopMode.FLATTEN: (
        "Opens are skipped, and the strategy sells every position that it opened. Followers copy these sales. "
        "What a person bought for a master stays, and so do its copies."
    ),
}

ModeOption = Annotated[
    str,
    typer.Option(
        "--mode",
        "-m",
        help="halt: exits wait, too; close-only: exits go on; flatten: the strategy also sells what it opened.",
    ),
]
BrokerOption = Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker.")]
FollowerOption = Annotated[
    str | None, typer.Option("--follower", "-f", help="Only this follower; with --broker if the id is at several.")
]
ReasonOption = Annotated[str, typer.Option(help="Why; kept with the change.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def stop(
    mode: ModeOption = StopMode.HALT.value,
    broker: BrokerOption = None,
    follower: FollowerOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Stop trading at all brokers, at one broker or for one follower, until `nija resume`.

    Every process sees it within two seconds. Orders that are at the broker are followed to their end. A stop survives
    restarts and is never ended by nija itself. If several stops apply to an account, the strictest one holds.
    Exit code 1: a broker's Redis did not answer, or no trader trades that would sell what flatten should sell.
    """
    chosen = _chosen_mode(mode)
    where, follower_id = chosen_broker(broker), chosen_follower(follower)
    settings = reached_settings()
    if not yes:
        _confirm(settings, chosen, where, follower_id)
    with (
        open_actions(settings) as context,
        about("--broker", AmbiguousFollower),
        about("--follower", UnknownFollower),
    ):
        result = stop_trading(context, chosen, where, follower_id, actor=actor(), reason=reason)
    if as_json:
        _print_json(result)
    else:
        changed = f" (before: {result.before.mode.value})" if result.before else ""
        output.console.print(f"{result.scope.name}: {chosen.value}{changed}. {_EFFECTS[chosen]}")
        output.console.print(f"`nija resume{result.scope.options}` ends it.")
    _report_unreached(result, _without_seller(settings, where) if chosen is StopMode.FLATTEN else ())


def resume(
    broker: BrokerOption = None, follower: FollowerOption = None, reason: ReasonOption = "", as_json: JsonOption = False
) -> None:
    """End a stop of all brokers, of one broker or of one follower. Stops of other scopes stay.

    Exits that waited are sent then, within 15 seconds. The command shows what stays stopped.
    Exit code 1: a broker's Redis did not answer.
    """
    where, follower_id = chosen_broker(broker), chosen_follower(follower)
    with (
        open_actions(reached_settings()) as context,
        about("--broker", AmbiguousFollower),
        about("--follower", UnknownFollower),
    ):
        result = resume_trading(context, where, follower_id, actor=actor(), reason=reason)
    if as_json:
        _print_json(result)
    else:
        what = "is resumed" if result.before else "was not stopped, so there is nothing to resume"
        output.console.print(f"trading: {result.scope.name} {what}")
        for line in _standing_lines(result.standing):
            output.console.print(line)
    _report_unreached(result)


def _chosen_mode(text: str) -> StopMode:
    try:
        return StopMode(text)
    except ValueError:
        known = ", ".join(mode.value for mode in StopMode)
        raise ConfigurationError(f"--mode: unknown mode {text!r}; the modes are {known}") from None


def _confirm(settings: Settings, mode: StopMode, broker: Broker | None, follower_id: FollowerId | None) -> None:
    with (
        open_connections(settings) as connections,
        about("--broker", AmbiguousFollower),
        about("--follower", UnknownFollower),
    ):
        preview = preview_stop(connections, broker, follower_id)
    try:
        typer.confirm(f"{_words(preview, mode)}\nstop?", abort=True, err=True)
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        raise ConfigurationError("--yes: nothing was stopped, because the question was not answered with y") from None


def _words(preview: StopPreview, mode: StopMode) -> str:
    concerned = output.counted(preview.followers, "follower")
    closes = ""
    if mode is StopMode.FLATTEN:
        positions = output.counted(len(preview.positions), "position")
        closes = (
            f" It sells {positions}, bought for {preview.value_usd:.2f} USD; fees about {preview.fees_usd:.2f} USD."
        )
    now = f" It has the mode {preview.present.mode.value} now." if preview.present else ""
    return f"{mode.value} for {preview.scope.name}, {concerned}. {_EFFECTS[mode]}{closes}{now}"


def _standing_lines(stops: Sequence[Stop]) -> list[str]:
    return [
        f"still stopped: {each.scope.name} ({each.mode.value}, since {output.moment_with_zone(each.changed_at)}, "
        f"by {each.actor}{f': {each.reason}' if each.reason else ''}); `nija resume{each.scope.options}` ends it"
        for each in stops
    ]


def _print_json(result: StopResult) -> None:
    output.print_json(
        {
            "scope": result.scope.model_dump(mode="json"),
            "before": result.before.model_dump(mode="json") if result.before else None,
            "standing": [each.model_dump(mode="json") for each in result.standing],
            "unreached": {broker.value: why for broker, why in result.unreached.items()},
        }
    )


def _without_seller(settings: Settings, broker: Broker | None) -> tuple[Broker, ...]:
    with open_connections(settings, redis=True, check=False) as connections:
        return without_seller(connections, broker)


def _report_unreached(result: StopResult, without_sellers: Sequence[Broker] = ()) -> None:
    """Say on standard error which processes see the change later, or are missing, and end with exit code 1."""
    for broker in without_sellers:
        sys.stderr.write(
            f"nija: {broker.value}: no strategy trader trades the account, so its positions are sold only when one does. "
            f"Start one with MULTI_BROKER_INDEPENDENT=true, or read its log\n"
        )
    for broker, why in result.unreached.items():
        sys.stderr.write(
            f"nija: {broker.value}: the change is stored, and its processes see it as soon as Redis answers and a "
            f"bookkeeper runs: {why}\n"
        )
    if result.unreached or without_sellers:
        raise typer.Exit(1)
