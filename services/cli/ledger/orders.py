"""`nija orders`: shows the copy orders of the followers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from services.cli import output
from services.cli.arguments import about, chosen_broker, chosen_follower, reached_settings
from shared.config import ConfigurationError
from shared.config.operator import open_connections
from shared.domain.amounts import plain
from shared.domain.events import OrderState
from shared.persistence.errors import UnknownFollower
from shared.queries.fill_names import ContradictingBrokers, FillName, UnknownFill
from shared.queries.ledger import ORDER_STATES, SKIPPED, OrderLine, read_orders

_STATES: Final = ", ".join(ORDER_STATES)


def orders(
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker's.")] = None,
    follower: Annotated[str | None, typer.Option("--follower", "-f", help="Only this follower's.")] = None,
    fill: Annotated[
        str | None,
        typer.Option("--fill", help="Only the copies of this fill: 12, or kraken:12 where several brokers have one."),
    ] = None,
    state: Annotated[str | None, typer.Option("--state", "-s", help=f"Only in this state: {_STATES}.")] = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Only those whose outcome is not known yet (--state unknown).")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many, the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, newest fill first.")] = False,
) -> None:
    """Show the followers' copy orders, those of the newest fill first.

    queued: no worker has reported about it yet. unknown: a send had no clear answer; it is looked up until it has one.
    accepted: the broker has it. filled, not_sent (skipped at the last moment), unfilled (nothing was offered within the
    limits of the purchase) and rejected are final. skipped: nija decided against a copy, and says why; shown with
    --fill, --follower or --state skipped. Long messages of brokers are cut short, amounts have eight places at most;
    --json has the whole, and with `scale_factor` the equity of the follower divided by that of the master, as it sized an
    open; null for exits and for opens that were not sized.
    """
    where = chosen_broker(broker)
    wanted = _chosen_state(state, unknown=unknown)
    follower_id = chosen_follower(follower)
    with about("--broker", ContradictingBrokers):
        asked_fill = None if fill is None else FillName.parse(fill, where)
    where = where if asked_fill is None else asked_fill.broker
    with (
        open_connections(reached_settings()) as connections,
        output.progress("reading the ledger"),
        about("--fill", UnknownFill),
        about("--follower", UnknownFollower),
    ):
        found = read_orders(connections, where, follower_id=follower_id, fill=asked_fill, state=wanted, limit=limit)
    if as_json:
        output.print_json([order.model_dump(mode="json") for order in found])
    elif found:
        show_orders(found)
    else:
        number = asked_fill and asked_fill.name.lstrip("0")
        asked = [where and f"at {where.value}", follower_id and f"of {follower_id}", number and f"of fill {number}"]
        asked.append(wanted and f"in state {wanted}")
        output.console.print(" ".join(["no copy orders", *(text for text in asked if text)]))


def _chosen_state(state: str | None, *, unknown: bool) -> str | None:
    if state is not None and state.lower() not in ORDER_STATES:
        raise ConfigurationError(f"--state: unknown state {state!r}; known are {_STATES}")
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
    """The state, and for an unknown order also the time since it was sent."""
    if order.state != OrderState.UNKNOWN or order.submitted_at is None:
        return order.state
    return f"{order.state}, sent {output.duration((now - order.submitted_at).total_seconds())} ago"


def _filled(order: OrderLine) -> str:
    """The executed quantity, its cost and the fee."""
    if not order.filled_quantity:
        return "0"
    quote = order.symbol.quote
    fee = f"fee {output.short_amount(order.fee)} {order.fee_currency}".strip()
    return f"{plain(order.filled_quantity)} for {output.short_amount(order.cost)} {quote}, {fee}"
