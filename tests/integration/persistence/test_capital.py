"""The capital record and the snapshots of an account: stored as a whole, kept for eight days, one sample at a time."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from shared.domain.capital.drawdown import DrawdownState
from shared.domain.capital.facts import AccountFacts
from shared.domain.capital.margin import MarginAction, MarginActionState, PositionCut, ZoneAction
from shared.domain.capital.sampling import Sample, next_sample
from shared.domain.fill import Side
from shared.domain.identity import Broker, MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.capital import CapitalStore
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from tests.support.capital import a_spot_account
from tests.support.examples import NOW, an_account_fill
from tests.unit.shared.domain.capital.test_sampling import STEP, WATCHED_SINCE, reading

KRAKEN, NAME = Broker.KRAKEN, MasterAccount("master")


@pytest.fixture
def capital(engine: Engine) -> CapitalStore:
    """A store without any record."""
    return CapitalStore(engine)


def store(capital: CapitalStore, account: AccountFacts, name: MasterAccount = NAME) -> Sample:
    """Store the next sample of an account whose cash stays the same."""
    with capital.locked(KRAKEN, name) as stored:
        found = next_sample(
            stored.record(), stored.last_snapshot(), reading(account, "10"), (), WATCHED_SINCE, account.read_at
        )
        stored.store(found.record, found.snapshot)
    return found


def _store_and_fail(capital: CapitalStore, before: Sample) -> None:
    with capital.locked(KRAKEN, NAME) as stored:
        account = reading(a_spot_account("100"), "10")
        found = next_sample(before.record, before.snapshot, account, (), WATCHED_SINCE, NOW + STEP)
        stored.store(found.record, found.snapshot)
        raise RuntimeError("killed")


def test_a_record_comes_back_with_every_digit(capital: CapitalStore) -> None:
    """Peak, state, breaker and holdings are those that were stored, also with 60 digits."""
    assert capital.record(KRAKEN, NAME) is None
    store(capital, a_spot_account(Decimal(10_000) / 3))
    last = store(capital, a_spot_account(Decimal(7_000) / 3, read_at=NOW + STEP))
    found = capital.record(KRAKEN, NAME)
    assert found == last.record
    assert found is not None
    assert (found.drawdown.state, found.drawdown.peak) == (DrawdownState.HEAVY, Decimal(10_000) / 3)
    assert found.drawdown.is_breaker_open(NOW + timedelta(hours=24))


def test_snapshots_are_kept_for_eight_days(capital: CapitalStore) -> None:
    """The sample that is stored deletes older ones of its own account, and none of another account."""
    other = MasterAccount("other")
    old, kept, now = NOW - timedelta(days=8, seconds=1), NOW - timedelta(days=8), NOW
    for each in (old, kept, now):
        with capital.locked(KRAKEN, NAME) as stored:
            account = a_spot_account(read_at=each)
            found = next_sample(None, None, reading(account), (), NOW - timedelta(days=30), each)
            stored.store(found.record, found.snapshot)
    store(capital, a_spot_account(read_at=NOW - timedelta(days=2)), other)
    assert [each.at for each in capital.snapshots(KRAKEN, NAME, NOW - timedelta(days=30))] == [kept, now]
    assert len(capital.snapshots(KRAKEN, other, NOW - timedelta(days=30))) == 1
    assert [each.at for each in capital.snapshots(KRAKEN, NAME, NOW)] == [now]


def test_nothing_of_a_sample_is_stored_when_it_fails(capital: CapitalStore) -> None:
    """A process that dies between two statements leaves the record and the snapshots as they were."""
    first = store(capital, a_spot_account())
    with pytest.raises(RuntimeError, match="killed"):
        _store_and_fail(capital, first)
    assert capital.record(KRAKEN, NAME) == first.record
    assert capital.snapshots(KRAKEN, NAME, NOW) == [first.snapshot]


def test_processes_that_sample_at_the_same_time_store_one_sample(capital: CapitalStore) -> None:
    """Each of them finds, under the lock, that the sample of the first one is not due again."""

    def once(_: int) -> bool:
        with capital.locked(KRAKEN, NAME) as stored:
            record = stored.record()
            if record is not None and not record.is_due(NOW):
                return False
            found = next_sample(record, None, reading(a_spot_account()), (), WATCHED_SINCE, NOW)
            stored.store(found.record, found.snapshot)
            return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(once, range(8))) == 1
    assert len(capital.snapshots(KRAKEN, NAME, NOW)) == 1


def test_the_margin_action_is_stored_beside_the_samples(capital: CapitalStore) -> None:
    """The next sample keeps it."""
    cut = PositionCut(symbol=Symbol("BTC", "USD"), side=Side.SELL, quantity="0.3")
    state = MarginActionState(is_closing=True, last=MarginAction(kind=ZoneAction.REDUCE, started_at=NOW, cuts=(cut,)))
    store(capital, a_spot_account())
    with capital.locked(KRAKEN, NAME) as stored:
        stored.store_margin_action(state)
    after = store(capital, a_spot_account(read_at=NOW + STEP))
    assert after.record.margin_action == state
    found = capital.record(KRAKEN, NAME)
    assert found is not None
    assert found.margin_action == state


def test_fills_between_two_readings_are_found(capital: CapitalStore, engine: Engine) -> None:
    """The first moment is left out, the last one belongs to it, and fills of other accounts do not count."""
    fills = MasterFills(engine)
    fills.watch(KRAKEN, NAME, WATCHED_SINCE)
    times = (NOW, NOW + STEP, NOW + 2 * STEP, NOW + 3 * STEP)
    seen = [an_account_fill(fill_id=f"T{index}", executed_at=at) for index, at in enumerate(times)]
    fills.record(KRAKEN, NAME, [ObservedFill(each, None) for each in seen], NOW)
    fills.record(KRAKEN, MasterAccount("other"), [ObservedFill(seen[1], None)], NOW)
    with capital.locked(KRAKEN, NAME) as stored:
        assert stored.fills_between(NOW, NOW + 2 * STEP) == seen[1:3]
        assert stored.watched_since() == WATCHED_SINCE
    with capital.locked(KRAKEN, MasterAccount("nobody")) as stored:
        assert stored.watched_since() is None
