"""`nija reconcile`: followers' accounts against the ledger. Options in, drift with its cause, open orders and repairs out."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from services.bookkeeper.reconcile_accounts import Reconciliation, ReconciliationReport
from services.cli import output
from services.cli.actor import actor
from services.cli.ledger import LedgerDesk, chosen_broker, open_ledger
from shared.config import ConfigurationError
from shared.domain.amounts import plain
from shared.domain.identity import Broker
from shared.domain.reconciliation.drift import Drift
from shared.domain.reconciliation.stray_orders import Ownership
from shared.messaging.connection.connect import COMMAND_ANSWER_SECONDS, open_redis
from shared.messaging.keys import BrokerKeys
from shared.persistence.reports.reports import AdjustmentLine

_WHOSE = {
    Ownership.IN_FLIGHT: "nija's, under way",
    Ownership.STRAY: "nija's, stray",
    Ownership.OWN: "the follower's own",
}


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
    Coins of a follower's own are no drift; copied coins that are not there are. An open order of nija's that no
    mailbox waits for is a stray one; a follower's own orders are listed and never touched. With --repair, copied
    positions of which something was sold outside nija are lowered to what is there, and stray orders are canceled:
    nothing is bought or sold; --history shows who had which position lowered. Exit code 0: all is as it should be,
    or was repaired; 1: something is not, or an account could not be read.
    """
    where = chosen_broker(broker)
    if history:
        if repair:
            raise ConfigurationError("--history shows repairs and makes none: give it or --repair")
        _history(where, follower, as_json=as_json)
        return
    with open_ledger() as desk, output.progress("reading accounts"):
        who = desk.known_follower(follower, where)
        brokers = (where,) if where else tuple(each for each in Broker if each in desk.reports.statuses())
        if who is not None:
            brokers = tuple(each for each in brokers if desk.reports.followers(each, follower_id=who))
        found = asyncio.run(_all(desk, brokers, who, repair=repair, timeout_seconds=timeout))
    if as_json:
        output.print_json(_document(found))
    else:
        _print(found, repair=repair)
    if any(each.drifts or each.unread for each in found.values()):
        raise typer.Exit(1)


def _history(where: Broker | None, follower: str | None, *, as_json: bool) -> None:
    with open_ledger() as desk, output.progress("reading the ledger"):
        who = desk.known_follower(follower, where)
        found = desk.reports.adjustments(where, follower_id=who)
    if as_json:
        output.print_json([line.model_dump(mode="json") for line in found])
    elif found:
        show_adjustments(found)
    else:
        asked = [who and f" of {who}", where and f" at {where.value}"]
        output.console.print(f"no copied position{''.join(text for text in asked if text)} was repaired")


def show_adjustments(found: Sequence[AdjustmentLine]) -> None:
    """Print what was lowered, when, by whom and why."""
    several, where = output.at_brokers([line.broker.value for line in found])
    shown = output.table(f"repaired positions{where}")
    output.text_columns(shown, output.when_heading(), *(["broker"] if several else []), "follower", "symbol")
    output.number_columns(shown, "before", "after")
    output.text_columns(shown, "who", "why")
    for line in found:
        shown.add_row(
            output.moment(line.occurred_at),
            *([line.broker.value] if several else []),
            line.follower_id,
            line.symbol,
            plain(line.quantity_before),
            plain(line.quantity_after),
            line.actor,
            line.reason,
        )
    output.show(shown)


async def _all(
    desk: LedgerDesk, brokers: tuple[Broker, ...], who: str | None, *, repair: bool, timeout_seconds: float
) -> dict[Broker, ReconciliationReport]:
    results = await asyncio.gather(
        *(_one(desk, broker, who, repair=repair, timeout_seconds=timeout_seconds) for broker in brokers)
    )
    return dict(zip(brokers, results, strict=True))


async def _one(
    desk: LedgerDesk, broker: Broker, who: str | None, *, repair: bool, timeout_seconds: float
) -> ReconciliationReport:
    async with open_redis(desk.settings.redis_url_for(broker), answer_seconds=COMMAND_ANSWER_SECONDS) as redis:
        work = Reconciliation(
            redis,
            BrokerKeys(broker),
            desk.targets,
            actor=actor(),
            timeout_seconds=timeout_seconds,
        )
        return await work.run(None if who is None else [who], repair=repair)


def _document(found: dict[Broker, ReconciliationReport]) -> dict[str, Any]:
    return {
        "accounts": sum(each.asked for each in found.values()),
        "read": sum(len(each.readings) for each in found.values()),
        "drifts": [_line(broker, drift) for broker, each in found.items() for drift in each.drifts],
        "repaired": [_line(broker, drift) for broker, each in found.items() for drift in each.repaired],
        "unknown_resolved": sum(each.resolved for each in found.values()),
        "in_open_orders": [
            {"broker": broker.value, "follower_id": follower_id, "currency": currency, "quantity": plain(quantity)}
            for broker, each in found.items()
            for follower_id, reading in sorted(each.readings.items())
            for currency, quantity in sorted(reading.locked.items())
        ],
        "open_orders": [
            {"broker": broker.value, "follower_id": follower_id, "ownership": whose, **order.model_dump(mode="json")}
            for broker, each in found.items()
            for follower_id, order, whose in each.open_orders()
        ],
        "open_orders_untold": [
            {"broker": broker.value, "follower_id": follower_id}
            for broker, each in found.items()
            for follower_id in each.untold()
        ],
        "unread": [
            {"broker": broker.value, "follower_id": follower_id, "error": error}
            for broker, each in found.items()
            for follower_id, error in sorted(each.unread.items())
        ],
    }


def _line(broker: Broker, drift: Drift) -> dict[str, Any]:
    return {"broker": broker.value, **drift.model_dump(mode="json")}


def _print(found: dict[Broker, ReconciliationReport], *, repair: bool) -> None:
    say = output.console.print
    for title, lines in (
        ("drift", [(broker, drift) for broker, each in found.items() for drift in each.drifts]),
        ("repaired", [(broker, drift) for broker, each in found.items() for drift in each.repaired]),
    ):
        if lines:
            _show(title, lines)
    _show_open_orders(found)
    for broker, each in found.items():
        for follower_id, reading in sorted(each.readings.items()):
            for currency, quantity in sorted(reading.locked.items()):
                say(f"{broker.value}: {follower_id} has {plain(quantity)} {currency} in open orders")
        for follower_id in each.untold():
            say(f"{broker.value}: the open orders of {follower_id} are not told", style="yellow")
        for follower_id, error in sorted(each.unread.items()):
            say(f"✗ {broker.value}: {follower_id} was not read: {error}", style="red")
        if each.resolved:
            say(f"{broker.value}: {each.resolved} unknown orders are known now")
    _conclude(found, repair=repair)


def _conclude(found: dict[Broker, ReconciliationReport], *, repair: bool) -> None:
    say = output.console.print
    count = sum(len(each.readings) for each in found.values())
    left = [drift for each in found.values() for drift in each.drifts]
    if left and repair:
        say("what is left cannot be repaired, or has changed meanwhile; what passes by itself is gone in a minute")
    elif any(drift.is_repairable for drift in left):
        say("`nija reconcile --repair` lowers the copied positions to what is there, and cancels stray orders")
    elif left:
        say("--repair changes nothing here: what is under way or was just settled is gone in a minute, ask again then")
    elif count:
        say(f"{count} {'account holds' if count == 1 else 'accounts hold'} what was copied", style="green")
    elif not any(each.unread for each in found.values()):
        say("nothing to compare: no follower that copies holds, orders or misses anything")


def _show(title: str, lines: list[tuple[Broker, Drift]]) -> None:
    several, where = output.at_brokers([broker.value for broker, _ in lines])
    shown = output.table(f"{title}{where}")
    output.text_columns(shown, *(["broker"] if several else []), "follower", "symbol")
    output.number_columns(shown, "copied", "there", "drift")
    output.message_column(shown, "cause")
    for broker, drift in lines:
        shown.add_row(
            *([broker.value] if several else []),
            drift.follower_id,
            drift.symbol,
            plain(drift.target),
            plain(drift.real),
            plain(drift.drift),
            ": ".join(text for text in (drift.cause.replace("_", " "), drift.detail) if text),
        )
    output.show(shown)


def _show_open_orders(found: dict[Broker, ReconciliationReport]) -> None:
    lines = [(broker, *line) for broker, each in found.items() for line in each.open_orders()]
    if not lines:
        return
    several, where = output.at_brokers([broker.value for broker, *_ in lines])
    shown = output.table(f"open orders{where}")
    output.text_columns(shown, *(["broker"] if several else []), "follower", "order")
    output.number_columns(shown, "filled")
    output.text_columns(shown, "whose", "id")
    for broker, follower_id, order, whose in lines:
        shown.add_row(
            *([broker.value] if several else []),
            follower_id,
            f"{order.side} {plain(order.quantity)} {order.symbol}",
            plain(order.filled_quantity),
            _WHOSE[whose],
            order.broker_order_id,
        )
    output.show(shown)
