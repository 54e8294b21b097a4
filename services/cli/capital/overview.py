"""`nija capital state`, `history`, `margin`, `scaling`, `drawdown` and `allocation`: what needs no market data."""

from typing import Annotated

import typer

from services.cli import output
from services.cli.capital.options import AccountOption, BrokerOption, JsonOption
from services.cli.capital.output import (
    Where,
    ask,
    dollars,
    in_thread,
    percent,
    print_facts,
    print_json,
    short,
    titled,
    yes_or_no,
)
from shared.domain.capital.buckets import Allocation
from shared.domain.capital.history import MOST_HOURS
from shared.queries.capital.overview import (
    read_allocation,
    read_drawdown,
    read_history,
    read_margin,
    read_scaling,
    read_state,
)
from shared.queries.capital_findings import action_text


def state(broker: BrokerOption = None, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show balances, margin, buying power and the status of a master account, in US dollars."""
    name, found = ask(Where(broker, account, as_json), in_thread(read_state))
    if as_json:
        print_json(name, found)
        return
    facts = [
        ("equity", dollars(found.total_equity)),
        ("wallet", dollars(found.total_wallet_balance)),
        ("available", dollars(found.available_balance)),
        ("margin used", f"{dollars(found.margin_used)} ({percent(found.margin_used_pct)})"),
        ("free", percent(found.margin_free_pct)),
        ("unrealized", dollars(found.unrealized_pnl)),
        ("buying power", dollars(found.buying_power)),
        ("positions", str(found.positions)),
        ("status", found.capital_status.value),
        ("read at", output.moment_with_zone(found.as_of)),
    ]
    print_facts(titled("capital", name), facts)


def history(
    hours: Annotated[int, typer.Option("--hours", min=1, max=MOST_HOURS, help="How far back.")] = 24,
    broker: BrokerOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the equity of a master account has developed. Snapshots are stored every 30 s and kept for 8 days."""
    name, found = ask(Where(broker, account, as_json), in_thread(lambda sources, of: read_history(sources, of, hours)))
    if as_json:
        print_json(name, found)
        return
    if not found.points:
        output.console.print(f"no snapshots of {name.account} at {name.broker.value} in the last {hours} h")
        return
    first, last = found.points[0], found.points[-1]
    facts = [
        ("from", output.moment_with_zone(first.at)),
        ("until", output.moment_with_zone(last.at)),
        ("points", str(len(found.points))),
        ("first", dollars(first.equity)),
        ("last", dollars(last.equity)),
        ("peak", short(found.peak)),
        ("lowest", short(found.lowest)),
        ("growth", percent(found.growth_pct)),
        ("trend", found.trend.value),
        ("volatility", percent(found.volatility_pct)),
    ]
    print_facts(titled("equity", name), facts)


def margin(broker: BrokerOption = None, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show the margin zone of a master account, and what nija sold last because of it.

    A spot account uses no margin and is always GREEN.
    """
    name, found = ask(Where(broker, account, as_json), in_thread(read_margin))
    if as_json:
        print_json(name, found)
        return
    facts = [
        ("zone", found.zone.value if found.is_applicable else f"{found.zone.value} (a spot account)"),
        ("action", found.action.value),
        ("margin used", percent(found.margin_used_pct)),
        ("to the next zone", percent(found.buffer_pct)),
        ("new entries", yes_or_no(found.can_open_new)),
        ("last automatic action", "none" if found.last_action is None else action_text(found.last_action)),
    ]
    print_facts(titled("margin", name), facts)


def scaling(broker: BrokerOption = None, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show what an account of this size may do: positions, leverage, risk and assets."""
    name, found = ask(Where(broker, account, as_json), in_thread(read_scaling))
    if as_json:
        print_json(name, found)
        return
    facts = [
        ("class", f"{found.account_class.value}, equity {dollars(found.equity)}"),
        ("positions", f"{found.open_positions} of at most {found.most_positions}"),
        ("leverage", f"{found.leverage.lowest}–{found.leverage.highest}"),
        ("risk per trade", f"{percent(found.risk_pct)}, at most {dollars(found.risk_amount)}"),
        ("assets", ", ".join(found.assets)),
        ("stocks", ", ".join(found.stocks)),
        ("ways", ", ".join(found.ways)),
        ("goal", found.goal),
    ]
    print_facts(titled("scaling", name), facts)


def drawdown(broker: BrokerOption = None, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show how far the equity is below its peak, what that leaves of entries, and the circuit breaker."""
    name, found = ask(Where(broker, account, as_json), in_thread(read_drawdown))
    if as_json:
        print_json(name, found)
        return
    until = "" if found.breaker_until is None else f" until {output.moment_with_zone(found.breaker_until)}"
    facts = [
        ("state", f"{found.state.value}, {percent(found.drawdown_pct)} below the peak"),
        ("peak", dollars(found.peak)),
        ("equity", dollars(found.equity)),
        ("circuit breaker", f"no entries{until}" if found.is_breaker_open else "closed"),
        ("size of entries", percent(found.size_pct)),
        ("positions", f"at most {found.most_positions}"),
        ("leverage", f"{short(found.leverage_less)} less, at most {short(found.most_leverage)}"),
        ("sampled", "not yet" if found.recorded_at is None else output.moment_with_zone(found.recorded_at)),
    ]
    print_facts(titled("drawdown", name), facts)


def allocation(broker: BrokerOption = None, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show the buckets CORE, GROWTH, OPPORTUNITY and RESERVE against their targets, and orders that restore them.

    nija does not send these orders.
    """
    name, found = ask(Where(broker, account, as_json), in_thread(read_allocation))
    if as_json:
        print_json(name, found)
    else:
        show_allocation(titled("buckets", name), found.allocation)


def show_allocation(title: str, found: Allocation) -> None:
    """Print the buckets, and the orders that would restore them."""
    shown = output.table(title)
    output.text_columns(shown, "bucket")
    output.number_columns(shown, "target %", "target", "now %", "now", "off %")
    for each in found.buckets:
        shown.add_row(
            each.bucket.value,
            short(each.target_pct),
            dollars(each.target_value),
            short(each.current_pct),
            dollars(each.current_value),
            f"{short(each.off_pct)}{' !' if each.is_off else ''}",
        )
    output.show(shown)
    for order in found.orders:
        output.console.print(f"proposed: {order.side.value} {dollars(order.value)} USD of {order.asset}")
