"""`nija reconcile`: compares followers' accounts with the ledger, and repairs differences on request."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from services.cli import output
from services.cli.actor import actor
from services.cli.arguments import about, chosen_broker, chosen_follower, reached_settings
from shared.actions import reconcile as action
from shared.actions.reconcile import ReconciledBroker
from shared.config import ConfigurationError
from shared.config.operator import open_actions, open_connections
from shared.domain.amounts import plain
from shared.domain.identity import Broker, FollowerId
from shared.domain.reconciliation.drift import Drift
from shared.domain.reconciliation.stray_orders import Ownership
from shared.persistence.errors import UnknownFollower
from shared.queries.ledger import AdjustmentLine, read_adjustments

_OWNERSHIP = {
    Ownership.IN_FLIGHT: "nija's, under way",
    Ownership.STRAY: "nija's, stray",
    Ownership.STRATEGY: "nija's, of the strategy",
    Ownership.OWN: "the follower's own",
}
Found = Mapping[Broker, ReconciledBroker]


def reconcile(
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker's.")] = None,
    follower: Annotated[str | None, typer.Option("--follower", "-f", help="Only this follower's.")] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Lower copied positions to what is there, cancel stray orders, wait for unknown orders.",
        ),
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Show what repairs changed until now, newest first, and read no account.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, max=86_400, help="Seconds to wait for workers.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare what followers really hold and have ordered with what the ledger says that they copied.

    The workers read the accounts, each when it has no other request under way, and look unknown orders up at once.
    Drift means that copied coins are missing. A follower's own coins are not counted. An open order of nija's that no
    mailbox waits for is a stray one; a follower's own orders are listed and never touched. With --repair, copied
    positions of which something was sold outside nija are lowered to what is there, and stray orders are canceled:
    nothing is bought or sold; --history shows whose position was lowered, and when. Exit code 0: there is no drift,
    or all of it was repaired; 1: there is some, or an account could not be read.
    """
    where = chosen_broker(broker)
    if history and repair:
        raise ConfigurationError("--history shows repairs and makes none: give it or --repair")
    follower_id = chosen_follower(follower)
    if history:
        _history(where, follower_id, as_json=as_json)
        return
    with (
        open_actions(reached_settings()) as context,
        output.progress("reading accounts"),
        about("--follower", UnknownFollower),
    ):
        found = asyncio.run(
            action.reconcile(
                context, broker=where, follower_id=follower_id, repair=repair, timeout_seconds=timeout, actor=actor()
            )
        )
    errors = [each.error for each in found.values() if each.error is not None]
    if errors:
        complete = {each: result for each, result in found.items() if result.error is None}
        if complete and not as_json:
            _print(complete, repair=repair)
        raise errors[0]
    if as_json:
        output.print_json(_document(found))
    else:
        _print(found, repair=repair)
    if not all(each.is_sound for each in found.values()):
        raise typer.Exit(1)


def _history(where: Broker | None, follower_id: FollowerId | None, *, as_json: bool) -> None:
    with (
        open_connections(reached_settings()) as connections,
        output.progress("reading the ledger"),
        about("--follower", UnknownFollower),
    ):
        found = read_adjustments(connections, where, follower_id=follower_id)
    if as_json:
        output.print_json([line.model_dump(mode="json") for line in found])
    elif found:
        show_adjustments(found)
    else:
        asked = [follower_id and f" of {follower_id}", where and f" at {where.value}"]
        output.console.print(f"no copied position{''.join(text for text in asked if text)} was repaired")


def show_adjustments(found: Sequence[AdjustmentLine]) -> None:
    """Print each lowered position with time, actor and reason."""
    several, where = output.at_brokers([line.broker.value for line in found])
    shown = output.table(f"repaired positions{where}")
    output.text_columns(shown, output.when_heading(), *(["broker"] if several else []), "follower", "asset")
    output.number_columns(shown, "before", "after")
    output.text_columns(shown, "who", "why")
    for line in found:
        shown.add_row(
            output.moment(line.occurred_at),
            *([line.broker.value] if several else []),
            line.follower_id,
            line.asset,
            plain(line.quantity_before),
            plain(line.quantity_after),
            line.actor,
            line.reason,
        )
    output.show(shown)


def _document(found: Found) -> dict[str, Any]:
    return {
        "accounts": sum(each.asked for each in found.values()),
        "read": sum(len(each.readings) for each in found.values()),
        "drifts": [_line(broker, drift) for broker, each in found.items() for drift in each.drifts],
        "repaired": [_line(broker, drift) for broker, each in found.items() for drift in each.repaired],
        "unknown_resolved": sum(each.resolved for each in found.values()),
        "in_open_orders": [
            {"broker": broker.value, "follower_id": follower_id, "currency": currency, "quantity": plain(quantity)}
            for broker, each in found.items()
            for follower_id, reading in each.readings.items()
            for currency, quantity in sorted(reading.locked.items())
        ],
        "open_orders": [
            {
                "broker": broker.value,
                "follower_id": line.follower_id,
                "ownership": line.ownership,
                **line.order.model_dump(mode="json"),
            }
            for broker, each in found.items()
            for line in each.open_orders
        ],
        "open_orders_unlisted": [
            {"broker": broker.value, "follower_id": follower_id}
            for broker, each in found.items()
            for follower_id in each.unlisted
        ],
        "unread": [
            {"broker": broker.value, "follower_id": follower_id, "error": error}
            for broker, each in found.items()
            for follower_id, error in each.unread.items()
        ],
    }


def _line(broker: Broker, drift: Drift) -> dict[str, Any]:
    return {"broker": broker.value, **drift.model_dump(mode="json")}


def _print(found: Found, *, repair: bool) -> None:
    say = output.console.print
    for title, lines in (
        ("drift", [(broker, drift) for broker, each in found.items() for drift in each.drifts]),
        ("repaired", [(broker, drift) for broker, each in found.items() for drift in each.repaired]),
    ):
        if lines:
            _show(title, lines)
    _show_open_orders(found)
    for broker, each in found.items():
        for follower_id, reading in each.readings.items():
            for currency, quantity in sorted(reading.locked.items()):
                say(f"{broker.value}: {follower_id} has {plain(quantity)} {currency} in open orders")
        for follower_id in each.unlisted:
            say(
                f"{broker.value}: open orders of {follower_id}: unavailable (the key may not list them)", style="yellow"
            )
        for follower_id, error in each.unread.items():
            say(f"✗ {broker.value}: {follower_id} was not read: {error}", style="red")
        if each.resolved:
            say(f"{broker.value}: {each.resolved} unknown orders are known now")
    _conclude(found, repair=repair)


def _conclude(found: Found, *, repair: bool) -> None:
    say = output.console.print
    count = sum(len(each.readings) for each in found.values())
    left = [drift for each in found.values() for drift in each.drifts]
    if left and repair:
        say("the rest cannot be repaired, or has changed meanwhile; a drift that ends by itself is gone in a minute")
    elif any(drift.is_repairable for drift in left):
        say("`nija reconcile --repair` lowers the copied positions to what is there, and cancels stray orders")
    elif left:
        say("--repair changes nothing here: orders under way or just settled are in order in a minute; ask again then")
    elif count:
        say(f"{count} {'account holds' if count == 1 else 'accounts hold'} what was copied", style="green")
    elif not any(each.unread for each in found.values()):
        say("nothing to compare: no follower that copies holds, orders or misses anything")


def _show(title: str, lines: list[tuple[Broker, Drift]]) -> None:
    several, where = output.at_brokers([broker.value for broker, _ in lines])
    shown = output.table(f"{title}{where}")
    output.text_columns(shown, *(["broker"] if several else []), "follower", "asset")
    output.number_columns(shown, "copied", "there", "drift")
    output.message_column(shown, "cause")
    for broker, drift in lines:
        shown.add_row(
            *([broker.value] if several else []),
            drift.follower_id,
            drift.asset,
            plain(drift.target),
            plain(drift.real),
            plain(drift.drift),
            ": ".join(text for text in (drift.cause.replace("_", " "), drift.detail) if text),
        )
    output.show(shown)


def _show_open_orders(found: Found) -> None:
    lines = [(broker, line) for broker, each in found.items() for line in each.open_orders]
    if not lines:
        return
    several, where = output.at_brokers([broker.value for broker, _ in lines])
    shown = output.table(f"open orders{where}")
    output.text_columns(shown, *(["broker"] if several else []), "follower", "order")
    output.number_columns(shown, "filled")
    output.text_columns(shown, "whose", "id")
    for broker, line in lines:
        order = line.order
        shown.add_row(
            *([broker.value] if several else []),
            line.follower_id,
            f"{order.side} {plain(order.quantity)} {order.symbol}",
            plain(order.filled_quantity),
            _OWNERSHIP[line.ownership],
            order.broker_order_id,
        )
    output.show(shown)
