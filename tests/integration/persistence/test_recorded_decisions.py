"""Recorded decisions and their inputs are read back from a real PostgreSQL exactly as they were."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from services.copy_engine.decide import decide
from shared.domain.accounts.balance import READINGS_UNTIL_UNAVAILABLE
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.reasons import SkipReason
from shared.domain.copying.replay import differences
from shared.domain.events import EVENT
from shared.domain.identity import Broker
from shared.domain.stop import StopMode, StopState
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.persistence.ledger.recorded_decisions import RecordedDecisions
from tests.support.examples import NOW, a_follower, an_account, an_account_fill, an_instrument
from tests.support.ledger_examples import a_batch, a_decision, a_snapshot_event

MAX_AGE = timedelta(minutes=15)


@pytest.fixture
def fill(fills: MasterFills) -> MasterFill:
    """A recorded fill, number 1 with the id T1."""
    [recorded] = fills.record(
        Broker.KRAKEN,
        "main",
        [ObservedFill(an_account_fill(), Decimal("98765.4321"), Decimal(1))],
        NOW + timedelta(seconds=1),
    )
    return recorded


def test_a_fill_is_found_by_number_and_by_id(engine: Engine, fill: MasterFill) -> None:
    """Number and id return the same fill, exactly as it was recorded. An unknown number or id returns none."""
    decisions = RecordedDecisions(engine)
    assert decisions.fills("1") == decisions.fills("T1") == decisions.fills("T1", Broker.KRAKEN) == [fill]
    assert decisions.fills("T2") == decisions.fills("9" * 30) == decisions.fills("1", Broker.OKX) == []


def test_what_the_engine_decided_comes_out_identically(engine: Engine, fill: MasterFill) -> None:
    """An order, a small quantity, two accounts that cannot be used and a stop pass through the ledger unchanged."""
    names = ["anna", "ben", "carl", "dora", "emil"]
    unavailable = an_account("777.77").model_copy(update={"failed_reads": READINGS_UNTIL_UNAVAILABLE})
    delivery = decide(
        fill,
        3,
        [a_follower(name, minimum_notional="1.5") for name in names],
        [an_account("1234.56789"), an_account("0.33"), None, unavailable, an_account("50")],
        [b"0.00000000123456789", None, None, None, None],
        an_instrument(),
        StopState(revision=1, follower_modes={"emil": StopMode.CLOSE_ONLY}),
        now=NOW + timedelta(seconds=2),
        snapshot_max_age=MAX_AGE,
    )
    stale = a_snapshot_event("dora", stale=True, occurred_at=NOW + timedelta(seconds=1))
    Ledger(engine).write([EVENT.validate_json(delivery.event), stale])
    decisions = RecordedDecisions(engine).of(fill)
    assert [(each.follower_id, each.skip_reason) for each in decisions] == [
        ("anna", None),
        ("ben", SkipReason.BELOW_MINIMUM),
        ("carl", SkipReason.ACCOUNT_UNKNOWN),
        ("dora", SkipReason.ACCOUNT_UNAVAILABLE),
        ("emil", SkipReason.CLOSE_ONLY),
    ]
    assert [difference for each in decisions for difference in differences(fill, each, MAX_AGE)] == []


def test_a_decision_that_the_planner_would_not_make_is_different(engine: Engine, fill: MasterFill) -> None:
    """A recorded order of twice the share is a difference with both quantities."""
    Ledger(engine).write([a_batch(a_decision(quantity="0.002", equity="987.654321", carried_after="0"))])
    [decision] = RecordedDecisions(engine).of(fill)
    [difference] = differences(fill, decision, MAX_AGE)
    assert (difference.field, difference.recorded, difference.computed) == (
        "quantity",
        Decimal("0.002"),
        Decimal("0.001"),
    )
