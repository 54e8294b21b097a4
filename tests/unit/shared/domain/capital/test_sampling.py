"""Tests what a sample of an account stores and reports."""

from datetime import timedelta
from decimal import Decimal

from shared.domain.capital.drawdown import DrawdownState
from shared.domain.capital.facts import AccountFacts
from shared.domain.capital.holdings import AccountHoldings
from shared.domain.capital.margin import MarginAction, MarginActionState, MarginZone, ZoneAction
from shared.domain.capital.sampling import ChangeKind, Sample, ValuedAccount, next_sample
from tests.support.capital import a_margin_account, a_spot_account
from tests.support.examples import NOW

WATCHED_SINCE = NOW - timedelta(days=3)
STEP = timedelta(seconds=30)


def reading(account: AccountFacts, cash: str | None = None) -> ValuedAccount:
    """A reading of an account that holds dollars only."""
    money = {"USD": str(account.equity) if cash is None else cash}
    held = AccountHoldings.model_validate({"free": money, "total": money, "read_at": account.read_at})
    return ValuedAccount(account=account, holdings=held, price_of=lambda _: Decimal(1))


def sampled(before: Sample | None, account: AccountFacts, **changes: str) -> Sample:
    """The sample of an account at the time of its reading."""
    record, last = (None, None) if before is None else (before.record, before.snapshot)
    return next_sample(record, last, reading(account, **changes), (), WATCHED_SINCE, account.read_at)


def kinds(sample: Sample) -> set[ChangeKind]:
    """What a sample reports, apart from the buckets."""
    return {change.kind for change in sample.changes} - {ChangeKind.BUCKETS}


def test_the_first_sample_makes_the_equity_the_peak() -> None:
    """The record has the reading, and nothing has changed yet."""
    first = sampled(None, a_spot_account("5000"))
    assert (first.record.drawdown.peak, first.record.drawdown.state) == (5_000, DrawdownState.NORMAL)
    assert (first.record.holdings, first.record.read_at, first.record.sampled_at) == ({"USD": 5_000}, NOW, NOW)
    assert (first.snapshot.at, first.snapshot.equity, first.snapshot.zone) == (NOW, 5_000, MarginZone.GREEN)
    assert kinds(first) == set()


def test_a_withdrawal_leaves_the_drawdown_as_it_is() -> None:
    """Half of the money goes, so the peak is halved, and the withdrawal is reported."""
    first = sampled(None, a_spot_account("5000"))
    after = sampled(first, a_spot_account("2500", read_at=NOW + STEP))
    assert (after.record.drawdown.peak, after.record.drawdown.drawdown_pct) == (2_500, 0)
    assert [change.after for change in after.changes if change.kind is ChangeKind.TRANSFER] == ["-2500.00 USD"]


def test_a_loss_deepens_the_drawdown_and_is_reported() -> None:
    """The cash is the same, and the equity is 20 % lower: heavy, and the circuit breaker trips."""
    first = sampled(None, a_spot_account("5000"), cash="10")
    after = sampled(first, a_spot_account("4000", read_at=NOW + STEP), cash="10")
    assert (after.record.drawdown.state, after.record.drawdown.peak) == (DrawdownState.HEAVY, 5_000)
    assert after.record.drawdown.breaker_until == NOW + STEP + timedelta(hours=24)
    assert kinds(after) == {ChangeKind.DRAWDOWN, ChangeKind.BREAKER}


def test_the_end_of_the_breaker_is_reported_once() -> None:
    """24 hours later entries are allowed again."""
    first = sampled(None, a_spot_account("5000"), cash="10")
    tripped = sampled(first, a_spot_account("4000", read_at=NOW + STEP), cash="10")
    later = NOW + STEP + timedelta(hours=24)
    over = sampled(tripped, a_spot_account("4000", read_at=later), cash="10")
    again = sampled(over, a_spot_account("4000", read_at=later + STEP), cash="10")
    assert kinds(over) == {ChangeKind.BREAKER}
    assert kinds(again) == set()


def test_a_transfer_counts_once_although_its_reading_is_sampled_twice() -> None:
    """The account is read every minute and sampled twice a minute."""
    first = sampled(None, a_spot_account("5000"))
    account = a_spot_account("2500", read_at=NOW + STEP)
    second = sampled(first, account)
    third = next_sample(second.record, second.snapshot, reading(account), (), WATCHED_SINCE, NOW + 2 * STEP)
    assert third.record.drawdown.peak == second.record.drawdown.peak == 2_500
    assert third.snapshot.at == NOW + 2 * STEP
    assert kinds(third) == set()


def test_changes_of_zone_and_status_are_reported_with_both_values() -> None:
    """From 40 % of used margin to 76 %."""
    first = sampled(None, a_margin_account(used="2000"))
    after = sampled(first, a_margin_account(used="3800", read_at=NOW + STEP))
    shown = {(each.kind, each.before, each.after) for each in after.changes if each.kind is not ChangeKind.BUCKETS}
    assert shown == {
        (ChangeKind.ZONE, "GREEN_ZONE", "ORANGE_ZONE"),
        (ChangeKind.STATUS, "HEALTHY", "CRITICAL"),
    }


def test_a_sample_keeps_what_the_automatic_action_remembers() -> None:
    """Only the half of the monitor that acts changes it."""
    first = sampled(None, a_margin_account())
    state = MarginActionState(
        is_closing=True, last=MarginAction(kind=ZoneAction.CLOSE, started_at=NOW, cuts=(), is_final=True)
    )
    record = first.record.model_copy(update={"margin_action": state})
    account = a_margin_account(read_at=NOW + STEP)
    after = next_sample(record, first.snapshot, reading(account), (), WATCHED_SINCE, NOW + STEP)
    assert after.record.margin_action == state


def test_another_account_of_the_same_name_starts_a_new_record() -> None:
    """Its equity is the peak, and its cash is no withdrawal of the first account."""
    first = sampled(None, a_spot_account("5000"))
    account = a_spot_account("100", read_at=NOW + STEP)
    after = next_sample(first.record, first.snapshot, reading(account), (), NOW, NOW + STEP)
    assert (after.record.drawdown.peak, after.record.watched_since) == (100, NOW)
    assert kinds(after) == set()


def test_proposals_for_the_buckets_are_reported_once_a_day() -> None:
    """An account of cash only has three buckets that are off."""
    first = sampled(None, a_spot_account("5000"))
    soon = sampled(first, a_spot_account("5000", read_at=NOW + STEP))
    tomorrow = sampled(soon, a_spot_account("5000", read_at=NOW + timedelta(days=1)))
    reported = [any(each.kind is ChangeKind.BUCKETS for each in sample.changes) for sample in (first, soon, tomorrow)]
    assert reported == [True, False, True]
    assert tomorrow.record.proposed_at == NOW + timedelta(days=1)


def test_a_sample_is_due_after_30_seconds_less_five() -> None:
    """Processes do not wake up exactly."""
    record = sampled(None, a_spot_account()).record
    assert not record.is_due(NOW + timedelta(seconds=24.9))
    assert record.is_due(NOW + timedelta(seconds=25))
