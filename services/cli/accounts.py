"""`nija accounts`: shows the balance of every account, and which balances are stale."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, Final

import typer

from services.cli import output
from services.cli.arguments import about, chosen_broker, chosen_follower, reached_settings
from shared.config.operator import open_connections
from shared.domain.accounts.balance import BalanceSnapshot, UserBrokerState
from shared.persistence.errors import UnknownFollower
from shared.queries.accounts import read_accounts

_CENT: Final = Decimal("0.01")


def accounts(
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker's.")] = None,
    follower: Annotated[str | None, typer.Option("--follower", "-f", help="Only this follower's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Show the balance of every master and follower account: total = available + locked, in US dollars.

    Locked are positions at market and what open orders hold. Copied: how many positions were copied to a follower. A
    balance that could not be read again is shown as it was last known, marked stale; after three failures in a row
    the account opens nothing more.
    """
    where = chosen_broker(broker)
    follower_id = chosen_follower(follower)
    settings = reached_settings()
    maximum_age = timedelta(seconds=settings.snapshot_max_age_seconds)
    with (
        open_connections(settings, redis=True) as connections,
        output.progress("reading the accounts"),
        about("--follower", UnknownFollower),
    ):
        found = read_accounts(
            connections, settings.enabled_brokers(), broker=where, follower_id=follower_id, maximum_age=maximum_age
        )
    if as_json:
        output.print_json([state.model_dump(mode="json") for state in found])
    elif found:
        show_accounts(found)
    elif follower_id:
        place = f" at {where.value}" if where else ""
        output.console.print(f"{follower_id}{place} was removed: nija has no key to read the account any more")
    else:
        place = f" at {where.value}" if where else ""
        output.console.print(f"no accounts{place}: no master has been watched yet, and there is no follower")


def show_accounts(found: Sequence[UserBrokerState]) -> None:
    """Print the accounts as a table."""
    several, where = output.at_brokers([state.broker.value for state in found])
    shown = output.table(f"accounts{where}, US dollars")
    output.text_columns(shown, *(["broker"] if several else []), "account", "state")
    output.number_columns(shown, "total", "available", "locked", "held", "copied")
    with_remarks = any(map(_remarks, found))
    if with_remarks:
        output.message_column(shown, "remarks")
    for state in found:
        shown.add_row(
            *([state.broker.value] if several else []),
            state.user_id,
            state.status,
            *(map(dollars, _sums(state.balance)) if state.balance else ("–",) * 4),
            "–" if state.role == "master" else str(len(state.open_positions)),
            *([_remarks(state)] if with_remarks else []),
        )
    output.show(shown)


def _sums(balance: BalanceSnapshot) -> tuple[Decimal, ...]:
    """Total, available, locked and the held part of it, in whole cents."""
    held = balance.held_usd
    total, available, held, rest = in_cents(
        balance.total_equity_usd, balance.available_usd, held, balance.locked_in_positions_usd - held
    )
    return total, available, held + rest, held


def in_cents(total: Decimal, *parts: Decimal) -> list[Decimal]:
    """Round the total and its parts to whole cents, so that they still add up. Each is less than a cent off.

    The cents that rounding down leaves go to the parts that lost most. If the exact parts do not add up to the total,
    each is rounded by itself.
    """
    if sum(parts) != total:
        return [round(amount, 2) for amount in (total, *parts)]
    rounded = [part.quantize(_CENT, ROUND_FLOOR) for part in parts]
    left = int((round(total, 2) - sum(rounded)) / _CENT)
    for number in sorted(range(len(parts)), key=lambda number: rounded[number] - parts[number])[:left]:
        rounded[number] += _CENT
    return [round(total, 2), *rounded]


def dollars(amount: Decimal) -> str:
    """Whole cents."""
    return f"{amount:,.2f}"


def _remarks(state: UserBrokerState) -> str:
    remarks = []
    if state.balance is None:
        remarks.append("never read")
    elif state.balance.stale:
        remarks.append("stale")
    if state.balance and state.balance.unpriced:
        remarks.append(f"no price for {', '.join(state.balance.unpriced)}")
    if state.failed_reads:
        remarks.append(f"{state.failed_reads} reading{'s' if state.failed_reads > 1 else ''} failed")
    if state.error:
        remarks.append(state.error)
    return "; ".join(remarks)
