"""Summarizes an account: balances, margin, buying power and how serious its condition is."""

from decimal import Decimal
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Instant
from shared.domain.capital.arithmetic import HUNDRED, cut_cents, fixed_precision, total
from shared.domain.capital.facts import AccountFacts
from shared.domain.capital.scaling import rules_for

EMERGENCY_USED_PCT: Final = Decimal(90)
CRITICAL_USED_PCT: Final = Decimal(75)
WARNING_USED_PCT: Final = Decimal(50)
EMERGENCY_LOSS_PCT: Final = Decimal(-10)
"""Together with a critical use of margin."""
WARNING_LOSS_PCT: Final = Decimal(-5)


class CapitalStatus(StrEnum):
    """How serious the condition of an account is."""

    HEALTHY = "HEALTHY"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    EMERGENCY = "EMERGENCY"


class CapitalState(BaseModel):
    """An account in the figures of the API. Money is US dollars, cut to cents."""

    model_config = ConfigDict(frozen=True)

    total_wallet_balance: Decimal
    """Without unrealized profit on a margin account; the equity on a spot account."""
    available_balance: Decimal
    margin_used: Decimal
    margin_used_pct: Decimal
    margin_free_pct: Decimal
    unrealized_pnl: Decimal
    buying_power: Decimal
    total_equity: Decimal
    capital_status: CapitalStatus
    positions: int
    as_of: Instant


@fixed_precision
def capital_state(account: AccountFacts) -> CapitalState:
    """Return the state of an account. A spot account uses no margin, and its buying power is its free cash."""
    unrealized = total(each.unrealized for each in account.positions)
    margin = account.margin
    if margin is None:
        wallet, used = account.equity, ZERO
        available = buying_power = max(ZERO, account.free_cash)
    else:
        wallet, used = margin.wallet, margin.used
        available = wallet - used
        leverage = min(Decimal(rules_for(account.equity).leverage.highest), margin.most_leverage)
        buying_power = max(ZERO, wallet * leverage)
    return CapitalState(
        total_wallet_balance=cut_cents(wallet),
        available_balance=cut_cents(available),
        margin_used=cut_cents(used),
        margin_used_pct=account.margin_used_pct,
        margin_free_pct=account.margin_free_pct,
        unrealized_pnl=cut_cents(unrealized),
        buying_power=cut_cents(buying_power),
        total_equity=cut_cents(account.equity),
        capital_status=capital_status(account.margin_used_pct, unrealized_percent(unrealized, wallet)),
        positions=sum(1 for each in account.positions if each.quantity),
        as_of=account.read_at,
    )


@fixed_precision
def unrealized_percent(unrealized: Decimal, wallet: Decimal) -> Decimal:
    """Return unrealized profit in percent of the wallet. A loss on an empty wallet is a loss of all of it."""
    if wallet > 0:
        return unrealized / wallet * HUNDRED
    return -HUNDRED if unrealized < 0 else ZERO


def capital_status(margin_used_pct: Decimal, unrealized_pct: Decimal) -> CapitalStatus:
    """Return the status for a use of margin and an unrealized profit, both in percent of the wallet."""
    is_critical = margin_used_pct >= CRITICAL_USED_PCT
    if margin_used_pct >= EMERGENCY_USED_PCT or (is_critical and unrealized_pct < EMERGENCY_LOSS_PCT):
        return CapitalStatus.EMERGENCY
    if is_critical:
        return CapitalStatus.CRITICAL
    if margin_used_pct >= WARNING_USED_PCT or unrealized_pct < WARNING_LOSS_PCT:
        return CapitalStatus.WARNING
    return CapitalStatus.HEALTHY
