"""`nija masters` and `nija subscriptions`: the accounts whose fills are copied, and who copies them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from services.cli import output
from services.cli.accounts import dollars
from services.cli.arguments import chosen_broker, reached_settings
from shared.config.operator import open_connections
from shared.domain.copying.follower import FollowerPolicy
from shared.queries.masters import MasterLine, SubscriptionLine, read_masters, read_subscriptions

masters_app = typer.Typer(help="The accounts whose fills are copied: list.", no_args_is_help=True)
subscriptions_app = typer.Typer(help="Which follower copies which master: list.", no_args_is_help=True)

BrokerOption = Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker's.")]
ListOption = Annotated[bool, typer.Option("--json", help="Print a JSON list.")]


@masters_app.callback()
def _masters() -> None: ...


@subscriptions_app.callback()
def _subscriptions() -> None: ...


@masters_app.command("list")
def list_masters(broker: BrokerOption = None, as_json: ListOption = False) -> None:
    """Show the master account of each broker: state, equity in US dollars, newest fill, and its followers.

    Last polled: when its process last read its fills. A state that is older may be wrong; `nija status` judges it.
    """
    where = chosen_broker(broker)
    settings = reached_settings()
    maximum_age = timedelta(seconds=settings.snapshot_max_age_seconds)
    with open_connections(settings, redis=True) as connections, output.progress("reading the masters"):
        found = read_masters(connections, settings.enabled_brokers(), where, maximum_age=maximum_age)
    if as_json:
        output.print_json([line.model_dump(mode="json") for line in found])
    elif found:
        _show_masters(found)
    else:
        output.console.print("no masters: no broker is enabled, and no master was ever watched")


@subscriptions_app.command("list")
def list_subscriptions(broker: BrokerOption = None, as_json: ListOption = False) -> None:
    """Show which follower copies which master, since which fill, and on which terms. Money is US dollars."""
    where = chosen_broker(broker)
    with open_connections(reached_settings()) as connections, output.progress("reading the followers"):
        found = read_subscriptions(connections, where)
    if as_json:
        output.print_json([line.model_dump(mode="json") for line in found])
    elif found:
        _show_subscriptions(found)
    else:
        place = f" at {where.value}" if where else ""
        output.console.print(f"no subscriptions{place}: there is no follower; `nija followers add` adds one")


def _show_masters(found: Sequence[MasterLine]) -> None:
    shown = output.table("masters")
    output.text_columns(shown, "broker", "master", "state", "last polled")
    output.number_columns(shown, "equity", "last fill")
    output.message_column(shown, "followers")
    now = datetime.now(UTC)
    for line in found:
        shown.add_row(
            line.broker.value,
            line.master,
            line.state,
            _ago(line.last_poll_at, now),
            dollars(line.balance.total_equity_usd) if line.balance else "–",
            "–" if line.last_sequence is None else str(line.last_sequence),
            ", ".join(f"{count} {status}" for status, count in sorted(line.followers.items())) or "none",
        )
    output.show(shown)
    for line in found:
        if line.error:
            output.console.print(f"{line.broker.value}: {line.error}", markup=False)


def _ago(moment: datetime | None, now: datetime) -> str:
    return "–" if moment is None else f"{output.duration(max((now - moment).total_seconds(), 0))} ago"


def _show_subscriptions(found: Sequence[SubscriptionLine]) -> None:
    several, where = output.at_brokers([line.broker.value for line in found])
    shown = output.table(f"subscriptions{where}")
    output.text_columns(shown, *(["broker"] if several else []), "follower", "master", "status")
    output.number_columns(shown, "since fill")
    output.text_columns(shown, "terms")
    with_reasons = any(line.status_reason for line in found)
    if with_reasons:
        output.message_column(shown, "why")
    for line in found:
        shown.add_row(
            *([line.broker.value] if several else []),
            line.follower_id,
            line.master or "not watched yet",
            line.status,
            str(line.joined_sequence + 1),
            "not readable" if line.terms is None else _terms(line.terms),
            *([line.status_reason] if with_reasons else []),
        )
    output.show(shown)


def _terms(terms: FollowerPolicy) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in terms.model_dump(mode="json").items())
