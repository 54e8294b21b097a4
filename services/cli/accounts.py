"""`nija accounts`: what every account is worth and whether that is still known. Options in, a table or JSON out."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, Final

import typer

from services.cli import output
from services.cli.ledger import chosen_broker, open_ledger
from services.cli.redis_access import opened_redis
from shared.config import ConfigurationError, Settings
from shared.domain.accounts.balance import BalanceSnapshot, UserBrokerState
from shared.domain.identity import Broker, FollowerId
from shared.persistence.reports.reports import Reports
from shared.queries.accounts import account_states

_CENT: Final = Decimal("0.01")


def accounts(
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker's.")] = None,
    follower: Annotated[str | None, typer.Option("--follower", "-f", help="Only this follower's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Show the balance of every master and follower account: total = available + locked, in US dollars.

    Locked are positions at market and what open orders hold. Copied: how many positions were copied to a follower. A balance that could not be read again stands as it
    was last known, marked stale; after three failures in a row the account opens nothing more.
    """
    where = chosen_broker(broker)
    with open_ledger() as desk, output.progress("reading the accounts"):
        who = desk.known_follower(follower, where)
        settings = desk.settings
        concerned = (where,) if where else _brokers(settings.enabled_brokers(), desk.reports.statuses())
        found = [state for each in concerned for state in _states(settings, desk.reports, each, who)]
    if as_json:
        output.print_json([state.model_dump(mode="json") for state in found])
    elif found:
        show_accounts(found)
    elif who:
        place = f" at {where.value}" if where else ""
        output.console.print(f"{who}{place} was removed: nija has no key to look into the account any more")
    else:
        place = f" at {where.value}" if where else ""
        output.console.print(f"no accounts{place}: no master has been watched yet, and there is no follower")


def _states(
    settings: Settings, reports: Reports, broker: Broker, follower_id: FollowerId | None
) -> list[UserBrokerState]:
    maximum_age = timedelta(seconds=settings.snapshot_max_age_seconds)
    try:
        with opened_redis(settings, broker) as redis:
            return account_states(redis, reports, broker, maximum_age=maximum_age, follower_id=follower_id)
    except ConfigurationError:
        # No Redis is named: the ledger's last balances are shown.
        return account_states(None, reports, broker, maximum_age=maximum_age, follower_id=follower_id)


def _brokers(enabled: Sequence[Broker], known: dict[Broker, dict[str, int]]) -> list[Broker]:
    return [broker for broker in Broker if broker in enabled or broker in known]


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
    """The total and its parts in whole cents, so that they still add up: each is less than a cent off.

    The cents that rounding down leaves go to the parts that lost most. Parts that do not add up are not made to.
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
