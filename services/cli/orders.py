"""`nija orders`: the followers' copy orders. Options in, a table or JSON out."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from services.cli import output
from services.cli.ledger import LedgerDesk, asked_fill, chosen_broker, open_ledger
from shared.config import ConfigurationError
from shared.domain.amounts import plain
from shared.domain.events import OrderState
from shared.domain.identity import Broker
from shared.persistence.reports.reports import QUEUED, SKIPPED, OrderLine

STATES: Final = (QUEUED, SKIPPED, *(state.value for state in OrderState))


def orders(
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker's.")] = None,
    follower: Annotated[str | None, typer.Option("--follower", "-f", help="Only this follower's.")] = None,
    fill: Annotated[
        str | None,
        typer.Option("--fill", help="Only the copies of this fill: 12, or kraken:12 where several brokers have one."),
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", "-s", help=f"Only in this state: {', '.join(STATES)}.")
    ] = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Only those whose outcome nobody knows yet (--state unknown).")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many, the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, newest fill first.")] = False,
) -> None:
    """Show the followers' copy orders, those of the newest fill first.

    queued: no worker has told of it yet. unknown: a send had no clear answer; it is looked up until it has one.
    accepted: the broker has it. filled, not_sent (skipped at the last moment) and rejected are final. skipped: nija
    decided against a copy, and says why; shown with --fill, --follower or --state skipped. Long messages of brokers
    are cut short, amounts have eight places at most; --json has the whole.
    """
    where = chosen_broker(broker)
    wanted = _chosen_state(state, unknown=unknown)
    with open_ledger() as desk, output.progress("reading the ledger"):
        sequence, where = (None, where) if fill is None else _known_fill(desk, fill, where)
        who = desk.known_follower(follower, where)
        found = desk.reports.orders(where, follower_id=who, sequence=sequence, state=wanted, limit=limit)
    if as_json:
        output.print_json([order.model_dump(mode="json") for order in found])
    elif found:
        show_orders(found)
    else:
        asked = [where and f"at {where.value}", who and f"of {who}", sequence and f"of fill {sequence}"]
        asked.append(wanted and f"in state {wanted}")
        output.console.print(" ".join(["no copy orders", *(text for text in asked if text)]))


def _known_fill(desk: LedgerDesk, fill: str, broker: Broker | None) -> tuple[int, Broker | None]:
    """The number of a fill and its broker, if one is named. Raises ConfigurationError when there is no such fill."""
    number, where = asked_fill(fill, broker)
    if not number.isascii() or not number.isdigit():
        raise ConfigurationError(
            f"--fill: {fill!r} should be a number such as 12, or kraken:12; `nija fills` shows them"
        )
    if not any(str(each.sequence) == number.lstrip("0") for each in desk.decisions.fills(number.lstrip("0"), where)):
        place = f" at {where.value}" if where else ""
        raise ConfigurationError(f"--fill: there is no fill {number}{place}; `nija fills` shows which there are")
    return int(number), where


def _chosen_state(state: str | None, *, unknown: bool) -> str | None:
    if state is not None and state.lower() not in STATES:
        raise ConfigurationError(f"--state: unknown state {state!r}; known are {', '.join(STATES)}")
    chosen = state.lower() if state is not None else None
    if not unknown:
        return chosen
    if chosen not in (None, OrderState.UNKNOWN.value):
        raise ConfigurationError(f"--unknown and --state {state} contradict each other; give one of them")
    return OrderState.UNKNOWN.value


def show_orders(found: Sequence[OrderLine]) -> None:
    """Print the orders as a table."""
    several, where = output.at_brokers([order.broker.value for order in found])
    now = datetime.now(UTC)
    with_reasons = any(order.reason or order.message for order in found)
    shown = output.table(f"copy orders{where}")
    output.number_columns(shown, "fill")
    output.text_columns(shown, *(["broker"] if several else []), "follower", "order", "state", "filled")
    if with_reasons:
        output.message_column(shown, "why")
    for order in found:
        why = ": ".join(text for text in (order.reason, output.short_message(order.message)) if text)
        shown.add_row(
            str(order.sequence),
            *([order.broker.value] if several else []),
            order.follower_id,
            _what(order),
            _state(order, now),
            _filled(order),
            *([why] if with_reasons else []),
        )
    output.show(shown)


def _what(order: OrderLine) -> str:
    if order.state == SKIPPED:
        return f"{order.side} {order.symbol}"
    quantity = "the copied part" if order.quantity is None else plain(order.quantity)
    return f"{order.side} {quantity} {order.symbol}"


def _state(order: OrderLine, now: datetime) -> str:
    """Of an unknown one also since when nobody has known."""
    if order.state != OrderState.UNKNOWN or order.submitted_at is None:
        return order.state
    return f"{order.state}, sent {output.duration((now - order.submitted_at).total_seconds())} ago"


def _filled(order: OrderLine) -> str:
    """What was executed, for how much, and the fee."""
    if not order.filled_quantity:
        return "0"
    quote = order.symbol.quote
    fee = f"fee {output.short_amount(order.fee)} {order.fee_currency}".strip()
    return f"{plain(order.filled_quantity)} for {output.short_amount(order.cost)} {quote}, {fee}"
