"""Answers what needs no market data: state, history, margin, scaling, drawdown, buckets."""

from datetime import timedelta
from decimal import Decimal

from shared.domain.amounts import ONE
from shared.domain.capital.arithmetic import HUNDRED, checked, cut_cents
from shared.domain.capital.buckets import allocation
from shared.domain.capital.drawdown import LIMITS, DrawdownRecord, first_record, positions_under
from shared.domain.capital.facts import AccountFacts
from shared.domain.capital.history import MOST_HOURS, MOST_POINTS, CapitalHistory, history
from shared.domain.capital.margin import margin_status
from shared.domain.capital.sampling import CapitalRecord
from shared.domain.capital.scaling import class_of, risk_amount, rules_for
from shared.domain.capital.state import CapitalState, capital_state
from shared.persistence.capital import CapitalStore
from shared.queries.capital.accounts import read_account
from shared.queries.capital.models import BucketAllocation, DrawdownStatus, MarginCondition, ScalingStatus
from shared.queries.capital.own import read_own_part
from shared.queries.capital.sources import AccountName, CapitalSources


def read_state(sources: CapitalSources, name: AccountName) -> CapitalState:
    """Return balances, margin and the status of an account. Raises AccountNotRead, NoSuchAccount."""
    return capital_state(read_account(sources.connections, name, sources.now()).facts)


def read_history(
    sources: CapitalSources, name: AccountName, hours: int = 24, most_points: int = MOST_POINTS
) -> CapitalHistory:
    """Return the snapshots of the last hours, 1 to 168. Raises InvalidAmount, DatabaseUnavailable."""
    checked("hours", Decimal(hours), least=1, most=MOST_HOURS)
    now = sources.now()
    store = CapitalStore(sources.connections.engine)
    snapshots = store.snapshots(name.broker, name.account, now - timedelta(hours=hours))
    return history(snapshots, hours, now, most_points)


def read_margin(sources: CapitalSources, name: AccountName) -> MarginCondition:
    """Return the margin zone of an account, and what nija has sold because of it.

    Raises AccountNotRead, NoSuchAccount, DatabaseUnavailable.
    """
    return margin_of(read_record(sources, name), read_account(sources.connections, name, sources.now()).facts)


def read_scaling(sources: CapitalSources, name: AccountName) -> ScalingStatus:
    """Return the class of an account. Raises AccountNotRead, NoSuchAccount, DatabaseUnavailable."""
    account = read_account(sources.connections, name, sources.now())
    return scaling_of(read_own_part(sources, account).account.facts, sources.stocks)


def read_drawdown(sources: CapitalSources, name: AccountName) -> DrawdownStatus:
    """Return how deep an account is below its peak. Raises AccountNotRead, NoSuchAccount, DatabaseUnavailable."""
    account = read_account(sources.connections, name, sources.now())
    return drawdown_of(sources, read_record(sources, name), account.facts)


def read_allocation(sources: CapitalSources, name: AccountName) -> BucketAllocation:
    """Return the buckets of an account. Raises AccountNotRead, NoSuchAccount, DatabaseUnavailable."""
    account = read_account(sources.connections, name, sources.now())
    return allocation_of(sources, read_record(sources, name), account.facts)


def read_record(sources: CapitalSources, name: AccountName) -> CapitalRecord | None:
    """The stored record of an account; None before the first sample. Raises DatabaseUnavailable."""
    return CapitalStore(sources.connections.engine).record(name.broker, name.account)


def drawdown_record(record: CapitalRecord | None, account: AccountFacts) -> DrawdownRecord:
    """The stored drawdown. Before the first sample, the present equity counts as the peak."""
    return first_record(account.equity) if record is None else record.drawdown


def margin_of(record: CapitalRecord | None, account: AccountFacts) -> MarginCondition:
    """Summarize the use of margin of an account."""
    last = None if record is None else record.margin_action.last
    return MarginCondition(**margin_status(account).model_dump(), last_action=last)


def scaling_of(account: AccountFacts, stocks: tuple[str, ...]) -> ScalingStatus:
    """Summarize the class of an account."""
    rules = rules_for(account.equity)
    return ScalingStatus(
        account_class=class_of(account.equity),
        equity=cut_cents(account.equity),
        most_positions=rules.most_positions,
        open_positions=len(account.own_positions),
        leverage=rules.leverage,
        risk_pct=rules.risk_pct,
        risk_band=rules.risk_band,
        risk_amount=cut_cents(risk_amount(account.equity)),
        assets=rules.assets,
        stocks=stocks,
        ways=rules.ways,
        goal=rules.goal,
    )


def drawdown_of(sources: CapitalSources, record: CapitalRecord | None, account: AccountFacts) -> DrawdownStatus:
    """Summarize the drawdown of an account, and what it leaves."""
    drawdown = drawdown_record(record, account)
    limits = LIMITS[drawdown.state]
    is_spot = account.margin is None
    return DrawdownStatus(
        state=drawdown.state,
        drawdown_pct=drawdown.drawdown_pct,
        peak=cut_cents(drawdown.peak),
        equity=cut_cents(drawdown.equity),
        is_breaker_open=drawdown.is_breaker_open(sources.now()),
        breaker_until=drawdown.breaker_until,
        size_pct=limits.size * HUNDRED,
        most_positions=positions_under(drawdown.state, rules_for(account.equity)),
        leverage_less=limits.leverage_less,
        most_leverage=ONE if is_spot else limits.most_leverage,
        recorded_at=None if record is None else record.sampled_at,
    )


def allocation_of(sources: CapitalSources, record: CapitalRecord | None, account: AccountFacts) -> BucketAllocation:
    """Compare the buckets of an account with their targets. Every answer lists the orders that would restore them."""
    return BucketAllocation(
        allocation=allocation(account, None, sources.now()),
        proposed_at=None if record is None else record.proposed_at,
    )
