"""Reports have the right sums, and the latency of each stage is measured between the right moments."""

from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.master_value import UnknownEquity
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderState, Outcome
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.persistence.reports.reports import Reports, StageLatency
from tests.support.examples import NOW, an_account_fill
from tests.support.ledger_examples import a_batch, a_decision, a_filled_event, a_snapshot_event, an_order_event

KRAKEN = Broker.KRAKEN
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")


@pytest.fixture
def reports(engine: Engine, fills: MasterFills, store: FollowerStore) -> Reports:
    """A fill for six followers: alice copied, bob skipped, carol failed, dave sent, erin queued, frank undecided."""
    store.import_rows(
        [
            NewFollower(KRAKEN, name, Credentials(api_key=SecretStr(name), api_secret=SecretStr("c2Vj")), n)
            for n, name in enumerate(NAMES)
        ],
        actor="test",
    )
    published = NOW + timedelta(milliseconds=500)
    fills.record(KRAKEN, "main", [ObservedFill(an_account_fill(fill_id="T1"), Decimal(1))], published)
    ledger = Ledger(engine)
    ledger.write(
        [
            a_batch(
                *[a_decision(name) for name in ("alice", "carol", "dave", "erin")],
                a_decision("bob", skip_reason=SkipReason.PAUSED, quantity=None),
            ),
            an_order_event("alice"),
            a_filled_event("alice"),
            an_order_event(
                "carol", state=OrderState.REJECTED, outcome=Outcome.FAILED, reason=FailReason.INSUFFICIENT_FUNDS
            ),
            an_order_event("dave", state=OrderState.UNKNOWN),
            a_snapshot_event("alice"),
        ]
    )
    return Reports(engine)


def test_every_follower_of_a_fill_is_counted_once(reports: Reports) -> None:
    """The counts of copied, skipped, failed and pending add up to the followers. An undecided follower is pending."""
    [fill] = reports.fills(KRAKEN)
    assert (fill.followers, fill.copied, fill.skipped, fill.failed, fill.pending) == (6, 1, 1, 1, 3)


def test_each_fill_has_its_reasons_with_their_numbers(reports: Reports, fills: MasterFills, engine: Engine) -> None:
    """The reasons of each fill add up to its skipped and failed copies. The most frequent reason comes first."""
    fills.record(KRAKEN, "main", [ObservedFill(an_account_fill(fill_id="T2"), Decimal(1))], NOW + timedelta(hours=1))
    reasons = {
        "alice": SkipReason.PAUSED,
        "bob": SkipReason.BELOW_MINIMUM,
        "carol": SkipReason.BELOW_MINIMUM,
    }
    skipped = [a_decision(name, 2, skip_reason=reason, quantity=None) for name, reason in reasons.items()]
    # Dave's open was skipped at the head of the mailbox.
    late = an_order_event("dave", 2, state=OrderState.NOT_SENT, outcome=Outcome.SKIPPED, reason=SkipReason.TOO_OLD)
    Ledger(engine).write([a_batch(*skipped, a_decision("dave", 2), sequence=2), late])
    newest, first = reports.fills(KRAKEN)
    assert list(newest.skipped_by_reason.items()) == [("below_minimum", 2), ("paused", 1), ("too_old", 1)]
    assert (newest.skipped, newest.failed_by_reason) == (4, {})
    assert (first.skipped_by_reason, first.failed_by_reason) == ({"paused": 1}, {"insufficient_funds": 1})


def test_who_joined_later_or_was_removed_undecided_is_not_counted(
    reports: Reports, store: FollowerStore, fills: MasterFills
) -> None:
    """A follower counts for the fills after it joined. A removed follower counts only for fills with a decision."""
    store.add(KRAKEN, "late", Credentials(api_key=SecretStr("l"), api_secret=SecretStr("c2Vj")), actor="test")
    store.remove(KRAKEN, "frank", actor="test")
    store.remove(KRAKEN, "alice", actor="test")
    [fill] = reports.fills(KRAKEN)
    assert (fill.followers, fill.copied, fill.pending) == (5, 1, 2)
    fills.record(KRAKEN, "main", [ObservedFill(an_account_fill(fill_id="T2"), Decimal(1))], NOW + timedelta(hours=1))
    newest, _ = reports.fills(KRAKEN)
    assert (newest.sequence, newest.followers, newest.pending) == (2, 5, 5)


def test_latency_is_measured_between_the_right_moments(reports: Reports) -> None:
    """The moments are: executed 0 s, published 0.5 s, decided 1 s, submitted 2 s, settled 4 s."""
    expected = {
        "detect": StageLatency(count=1, p50=500, p99=500),
        "plan": StageLatency(count=5, p50=500, p99=500),
        "queue": StageLatency(count=1, p50=1000, p99=1000),
        "broker": StageLatency(count=1, p50=2000, p99=2000),
        "total": StageLatency(count=1, p50=4000, p99=4000),
    }
    assert reports.latency(KRAKEN) == expected
    assert reports.fills(KRAKEN)[0].latency_ms == expected


def test_percentiles_are_those_of_all_followers(reports: Reports, engine: Engine) -> None:
    """With totals of 4 s and 14 s, the median is between them."""
    Ledger(engine).write([a_filled_event("dave", occurred_at=NOW + timedelta(seconds=14))])
    total = reports.latency(KRAKEN)["total"]
    assert (total.count, total.p50, total.p99) == (2, 9000, 13900)


def test_without_fills_there_is_no_latency(engine: Engine) -> None:
    """A latency without measurements is None, not zero."""
    assert Reports(engine).latency()["total"] == StageLatency(count=0, p50=None, p99=None)


def test_orders_show_the_newest_state_and_can_be_filtered(reports: Reports) -> None:
    """The final event counts more than an earlier one. An order without any event is queued."""
    assert {line.follower_id: line.state for line in reports.orders(KRAKEN)} == {
        "alice": "filled",
        "carol": "rejected",
        "dave": "unknown",
        "erin": "queued",
    }
    assert [line.follower_id for line in reports.orders(KRAKEN, state="unknown")] == ["dave"]
    assert [line.follower_id for line in reports.orders(state="queued")] == ["erin"]
    [alice] = reports.orders(follower_id="alice", sequence=1)
    assert (alice.outcome, alice.filled_quantity, alice.cost) == ("copied", Decimal("0.001"), Decimal(50))
    assert alice.model_dump(mode="json")["filled_quantity"] == "0.001"
    assert reports.orders(sequence=2) == []


def test_each_open_has_the_factor_that_sized_it(reports: Reports, fills: MasterFills, engine: Engine) -> None:
    """The factor is the follower's equity at the decision, divided by the master's before the fill; text in JSON.

    Exits have none, and neither has an open that was skipped before it was sized, or that was only looked up.
    """
    dollar = Decimal(1)
    known = ObservedFill(an_account_fill(fill_id="T2"), Decimal(30_000), dollar)
    unknown = ObservedFill(an_account_fill(fill_id="T3"), UnknownEquity("no prices"), dollar)
    exit_ = ObservedFill(an_account_fill(fill_id="T4", side=Side.SELL), Decimal(30_000), dollar)
    wrong = ObservedFill(an_account_fill(fill_id="T5"), Decimal(1), dollar)
    fills.record(KRAKEN, "main", [known, unknown, exit_, wrong], NOW)
    small = {"skip_reason": SkipReason.BELOW_MINIMUM, "quantity": None}
    Ledger(engine).write(
        [
            a_batch(
                a_decision("alice", 2, equity="1000"),
                a_decision("bob", 2, equity="0.5", **small),
                a_decision("carol", 2, equity="1000", skip_reason=SkipReason.PAUSED, quantity=None),
                a_decision("dave", 2, equity=None, skip_reason=SkipReason.ACCOUNT_UNKNOWN, quantity=None),
                a_decision("erin", 2, equity="1000", quantity="0"),
                sequence=2,
            ),
            a_batch(a_decision("alice", 3, skip_reason=SkipReason.MASTER_EQUITY_UNKNOWN, quantity=None), sequence=3),
            a_batch(a_decision("alice", 4, quantity=None, fraction="0.5"), sequence=4, side=Side.SELL),
            a_batch(a_decision("alice", 5, equity="1000"), sequence=5),
        ]
    )

    def factors(sequence: int) -> dict[str, str | None]:
        lines = [line.model_dump(mode="json") for line in reports.orders(KRAKEN, sequence=sequence)]
        return {line["follower_id"]: line["scale_factor"] for line in lines}

    assert factors(2) == {
        "alice": "0.0333333333333",
        "bob": "0.0000166666666666",
        "carol": None,
        "dave": None,
        "erin": None,
    }
    assert (factors(3), factors(4)) == ({"alice": None}, {"alice": None})
    # An equity of the master below the cost of its purchase is wrong. The cost of 5,000 counts then.
    assert factors(5) == {"alice": "0.2"}


def test_who_was_skipped_is_told_with_the_reason_when_asked_for(reports: Reports) -> None:
    """A skip is listed by fill, by follower and by its state, but not for another state."""
    for asked in ({"sequence": 1}, {"follower_id": "bob"}, {"state": "skipped"}):
        [bob] = [line for line in reports.orders(KRAKEN, **asked) if line.follower_id == "bob"]  # type: ignore[arg-type]
        assert (bob.state, bob.outcome, bob.reason, bob.quantity) == ("skipped", "skipped", "paused", None)
    assert [line.follower_id for line in reports.orders(state="skipped")] == ["bob"]
    assert reports.orders(follower_id="bob", state="queued") == []


def test_a_final_event_written_out_of_order_still_has_the_last_word(reports: Reports, engine: Engine) -> None:
    """A later event that is not final does not reopen an order."""
    Ledger(engine).write([an_order_event("alice", occurred_at=NOW + timedelta(seconds=99))])
    assert reports.orders(follower_id="alice")[0].state == "filled"


def test_positions_are_those_after_the_newest_fill(reports: Reports, engine: Engine) -> None:
    """The fill with the highest number counts, whatever the order of recording.

    Closed positions are shown on request.
    """
    ledger = Ledger(engine)
    ledger.write([a_filled_event("alice", 3, position_after="0.003", occurred_at=NOW)])
    ledger.write([a_filled_event("alice", 2, position_after="0.002")])
    ledger.write([a_filled_event("dave", 2, position_after="0")])
    [alice] = reports.positions(KRAKEN)
    assert (alice.follower_id, alice.quantity) == ("alice", Decimal("0.003"))
    assert {line.follower_id for line in reports.positions(KRAKEN, closed=True)} == {"alice", "carol", "dave"}
    assert reports.positions(asset="ETH") == []


def test_an_order_that_moves_several_assets_has_the_last_word_in_each(reports: Reports, engine: Engine) -> None:
    """BTC paid for ETH, then a part of the ETH was sold. A restore puts the same positions back."""
    ether = CopiedPosition(quantity=Decimal(2), carried_exit=Decimal("0.5"))
    swap = {"symbol": "ETH/BTC", "asset": "BTC", "position_after": "0.1", "other_positions": {"ETH": ether}}
    sale = {"symbol": "ETH/USD", "asset": "ETH", "position_after": "1.5", "carried_exit_after": "0"}
    ledger = Ledger(engine)
    ledger.write([a_filled_event("erin", 5, **swap), a_filled_event("erin", 4, position_after="0.3")])
    held = {line.asset: (line.quantity, line.carried_exit) for line in reports.positions(KRAKEN, follower_id="erin")}
    assert held == {"BTC": (Decimal("0.1"), 0), "ETH": (Decimal(2), Decimal("0.5"))}
    ledger.write([a_filled_event("erin", 6, **sale)])
    restored = {each.asset: each.position for each in Copies(engine, KRAKEN).positions() if each.follower_id == "erin"}
    assert {asset: str(each.quantity) for asset, each in restored.items()} == {"BTC": "0.1", "ETH": "1.5"}


def test_followers_show_how_their_fills_ended(reports: Reports) -> None:
    """Each follower has one line, with its newest equity."""
    lines = {line.follower_id: line for line in reports.followers(KRAKEN)}
    assert set(lines) == set(NAMES)
    assert (lines["alice"].copied, lines["alice"].equity) == (1, Decimal("1000.5"))
    assert (lines["bob"].skipped, lines["bob"].equity) == (1, None)
    assert lines["erin"].pending == 1


def test_reasons_are_counted(reports: Reports) -> None:
    """The reasons for which followers did not copy are counted."""
    assert {(line.outcome, line.reason, line.count) for line in reports.reasons(KRAKEN)} == {
        ("skipped", "paused", 1),
        ("failed", "insufficient_funds", 1),
    }
