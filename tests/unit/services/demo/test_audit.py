"""Tests the audit of a demo: a correct ledger passes, and each kind of fault is reported."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from services.demo.audit import AuditReport, BrokerFill, BrokerOrder, audit
from shared.domain.symbol import Symbol
from shared.persistence.reports.reports import CopyLine, FillReport
from tests.unit.services.demo.ledger_lines import MASTER, copied, fill

LOT = Decimal("0.001")


def executed(
    sequence: int, side: str, quantity: str, order_id: str | None = None, limit_price: Decimal | None = None
) -> BrokerOrder:
    """The same order in the order log of the broker."""
    return BrokerOrder(
        account="anna",
        client_order_id=order_id or f"order-{sequence}",
        symbol="BTC/USD",
        side=side,
        filled=Decimal(quantity),
        limit_price=limit_price,
    )


FILLS = [fill(1, "buy", "1"), fill(2, "sell", "1", "1")]
COPIES = [copied(1, "buy", "0.1"), copied(2, "sell", "0.1")]
ORDERS = [executed(1, "buy", "0.1"), executed(2, "sell", "0.1")]
MASTER_FILLS = [BrokerFill(account=MASTER, fill_id="T1"), BrokerFill(account=MASTER, fill_id="T2")]


def compare(
    fills: Sequence[FillReport] = FILLS,
    copies: Sequence[CopyLine] = COPIES,
    orders: Sequence[BrokerOrder] = ORDERS,
    broker_fills: Sequence[BrokerFill] = MASTER_FILLS,
    followers: int = 1,
) -> AuditReport:
    """Run the audit. The defaults form a correct ledger."""
    return audit(
        fills,
        copies,
        orders,
        broker_fills,
        master_account=MASTER,
        followers=followers,
        equity_before={1: Decimal(100_000), 2: Decimal(100_000)},
        lots={Symbol("BTC", "USD"): LOT},
    )


def test_a_sound_ledger_has_nothing_to_show() -> None:
    """Two copied orders give no fault, no open position and no position error."""
    assert compare() == AuditReport(
        planned=2,
        copied=2,
        skipped=0,
        failed=0,
        pending=0,
        missing=0,
        duplicates=0,
        cut=0,
        mismatched=0,
        max_position_error_lots=Decimal(0),
        open_positions=0,
    )


def test_the_audit_ignores_fills_of_others_at_the_broker() -> None:
    """Executions on follower accounts do not count as missing master fills."""
    assert compare(broker_fills=[*MASTER_FILLS, BrokerFill(account="anna", fill_id="F9")]).missing == 0


def test_a_master_fill_that_the_ledger_lacks_is_missing() -> None:
    """The broker executed a trade of the master that was not copied."""
    assert compare(broker_fills=[*MASTER_FILLS, BrokerFill(account=MASTER, fill_id="T3")]).missing == 1


def test_a_follower_without_a_decision_is_missing() -> None:
    """With two followers and one decision for each of two fills, two decisions are missing."""
    assert compare(followers=2).missing == 2


def test_a_copied_order_that_the_broker_lacks_is_missing_and_differs() -> None:
    """The ledger says that the order was executed, but the broker has no such order."""
    found = compare(orders=ORDERS[:1])
    assert (found.missing, found.mismatched, found.open_positions) == (1, 1, 1)


def test_a_second_order_for_one_id_is_a_duplicate() -> None:
    """Each further order with the same client order id counts as a duplicate."""
    assert compare(orders=[*ORDERS, ORDERS[0], ORDERS[0]]).duplicates == 2


@pytest.mark.parametrize("order_id", ["order-9", "order-3"])
def test_an_order_that_the_ledger_did_not_plan_is_a_duplicate(order_id: str) -> None:
    """The order is unknown to the ledger, or belongs to a fill that the ledger says was skipped."""
    skipped = copied(3, "buy", "0", skip_reason="paused", outcome=None)
    stray = executed(3, "buy", "0.1", order_id)
    assert compare(copies=[*COPIES, skipped], orders=[*ORDERS, stray]).duplicates == 1


def test_another_executed_quantity_is_a_mismatch() -> None:
    """The ledger and the broker disagree on the quantity of one order."""
    assert compare(orders=[executed(1, "buy", "0.099"), ORDERS[1]]).mismatched == 1


def test_every_end_is_counted_once() -> None:
    """The fills are copied, skipped by the engine, skipped by the worker, failed and pending."""
    fills = [fill(number, "buy", "1") for number in range(1, 6)]
    copies = [
        copied(1, "buy", "0.1"),
        copied(2, "buy", "0", skip_reason="paused", outcome=None),
        copied(3, "buy", "0.1", outcome="skipped", filled_quantity=Decimal(0)),
        copied(4, "buy", "0.1", outcome="failed", filled_quantity=Decimal(0)),
        copied(5, "buy", "0.1", outcome=None, filled_quantity=Decimal(0)),
    ]
    found = audit(
        fills,
        copies,
        [executed(1, "buy", "0.1")],
        [],
        master_account=MASTER,
        followers=1,
        equity_before=dict.fromkeys(range(1, 6), Decimal(100_000)),
        lots={Symbol("BTC", "USD"): LOT},
    )
    assert (found.planned, found.copied, found.skipped, found.failed, found.pending) == (4, 1, 2, 1, 1)


def test_the_position_error_is_told_in_lots() -> None:
    """0.1 was due and 0.0985 was bought, so the position is one and a half lots too small."""
    short = compare(
        fills=FILLS[:1],
        copies=[copied(1, "buy", "0.0985")],
        orders=[executed(1, "buy", "0.0985")],
        broker_fills=MASTER_FILLS[:1],
    )
    assert short.max_position_error_lots == Decimal("1.5")
    assert short.open_positions == 1


def test_what_is_carried_is_owed_and_no_error() -> None:
    """An open below the lot waits for the next one. The position counts as correct."""
    carried = copied(1, "buy", "0.099", carried_after=Decimal("0.001"))
    found = compare(
        fills=FILLS[:1], copies=[carried], orders=[executed(1, "buy", "0.099")], broker_fills=MASTER_FILLS[:1]
    )
    assert found.max_position_error_lots == 0


def test_an_open_below_the_minimum_is_owed_too() -> None:
    """A skip for the minimum carries the whole quantity, which is no error. A skip for a pause owes nothing."""
    for reason, carried in (("below_minimum", "0.1"), ("paused", "0")):
        skipped = copied(
            1,
            "buy",
            "0",
            skip_reason=reason,
            outcome=None,
            filled_quantity=Decimal(0),
            carried_after=Decimal(carried),
        )
        found = compare(fills=FILLS[:1], copies=[skipped], orders=[], broker_fills=MASTER_FILLS[:1])
        assert (found.max_position_error_lots, found.skipped, found.missing) == (0, 1, 0)


@pytest.mark.parametrize(("limit_price", "error", "cut"), [(Decimal(40_200), 0, 1), (None, 60, 0)])
def test_what_the_price_limit_or_the_cash_left_out_is_not_owed(
    limit_price: Decimal | None, error: int, cut: int
) -> None:
    """0.04 of 0.1 were bought, and a full close sold them. A market order may leave nothing out."""
    found = compare(
        copies=[copied(1, "buy", "0.1", filled_quantity=Decimal("0.04")), copied(2, "sell", "0.04")],
        orders=[executed(1, "buy", "0.04", limit_price=limit_price), executed(2, "sell", "0.04")],
    )
    assert (found.max_position_error_lots, found.cut, found.mismatched) == (error, cut, 0)


@pytest.mark.parametrize(
    ("reason", "error"),
    [("price_limit", 0), ("too_old", 0), ("market_closed", 0), ("no_quote_cash", 0), ("not_repeated", 100)],
)
def test_an_open_that_its_limits_skipped_is_not_owed(reason: str, error: int) -> None:
    """The position stays smaller. Without such a reason, a planned open must be bought."""
    skipped = copied(1, "buy", "0.1", outcome="skipped", reason=reason, filled_quantity=Decimal(0))
    found = compare(fills=FILLS[:1], copies=[skipped], orders=[], broker_fills=MASTER_FILLS[:1])
    assert (found.max_position_error_lots, found.skipped, found.missing) == (error, 1, 0)


def test_an_open_that_the_broker_refused_for_its_funds_is_not_owed() -> None:
    """It counts as failed, and the position is as it should be without it."""
    failed = copied(1, "buy", "0.1", outcome="failed", reason="insufficient_funds", filled_quantity=Decimal(0))
    found = compare(fills=FILLS[:1], copies=[failed], orders=[], broker_fills=MASTER_FILLS[:1])
    assert (found.max_position_error_lots, found.failed, found.open_positions) == (Decimal(0), 1, 0)


def test_a_partial_exit_is_measured_by_its_fraction() -> None:
    """Half of the copied position was sold for half of the master's. What is carried to the next exit is no error."""
    fills = [FILLS[0], fill(2, "sell", "0.5", "0.5")]
    exact = compare(
        fills=fills,
        copies=[COPIES[0], copied(2, "sell", "0.05")],
        orders=[ORDERS[0], executed(2, "sell", "0.05")],
    )
    assert (exact.max_position_error_lots, exact.open_positions) == (0, 1)
    carried = compare(
        fills=fills,
        copies=[COPIES[0], copied(2, "sell", "0.048", carried_exit_after=Decimal("0.002"))],
        orders=[ORDERS[0], executed(2, "sell", "0.048")],
    )
    assert carried.max_position_error_lots == 0
