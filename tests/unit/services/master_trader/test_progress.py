"""Tests from where the next reading of fills begins."""

from datetime import UTC, datetime, timedelta

from services.master_trader.poll import Sighting
from services.master_trader.progress import OVERLAP, Progress
from shared.domain.fill import AccountFill
from shared.persistence.ledger.master_fills import ObservedFill
from tests.support.fills import buy

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def saw(*fills: AccountFill, new: tuple[AccountFill, ...] = ()) -> Sighting:
    return Sighting(fills, tuple(ObservedFill(fill, fill.cost) for fill in new), None)


def test_reading_never_begins_before_the_account_was_watched() -> None:
    """History is not copied, not even within the overlap."""
    assert Progress(NOON, NOON + timedelta(seconds=10), set(), 0).since == NOON


def test_reading_begins_one_overlap_before_the_newest_fill() -> None:
    """A fill that becomes visible later than a younger one is still found."""
    progress = Progress(NOON - timedelta(days=1), NOON, set(), 0)
    fill = buy(1, NOON + timedelta(minutes=20))
    assert progress.learn(saw(fill, new=(fill,)), 1)
    assert progress.since == fill.executed_at - OVERLAP
    assert progress.known == {fill.fill_id}


def test_reading_never_moves_back() -> None:
    """A reading that shows less than the one before moves nothing."""
    progress = Progress(NOON - timedelta(days=1), NOON, {"T1"}, 0)
    assert not progress.learn(saw(buy(2, NOON - timedelta(minutes=1))), 1)
    assert progress.read_until == NOON


def test_after_a_quiet_overlap_old_pages_are_read_no_more_until_there_is_news() -> None:
    """The overlap is counted by a monotonic clock from the moment when the newest fill was seen."""
    progress = Progress(NOON - timedelta(days=1), NOON, set(), 0)
    fill = buy(1, NOON + timedelta(minutes=20))
    progress.learn(saw(fill, new=(fill,)), 1000)
    progress.learn(saw(fill), 1000 + OVERLAP.total_seconds() - 1)
    assert progress.since == fill.executed_at - OVERLAP
    progress.learn(saw(fill), 1000 + OVERLAP.total_seconds())
    assert progress.since == fill.executed_at
    news = buy(2, fill.executed_at + timedelta(minutes=30))
    progress.learn(saw(fill, news, new=(news,)), 5000)
    assert progress.since == news.executed_at - OVERLAP


def test_a_copy_that_was_left_out_is_known_and_news() -> None:
    """A trade of the master from just before it may become visible late, like one before any other fill."""
    progress = Progress(NOON - timedelta(days=1), NOON, set(), 0)
    copy = buy(1, NOON + timedelta(minutes=20))
    progress.learn(saw(copy), 1000)
    assert progress.known == {copy.fill_id}
    progress.learn(saw(copy), 1000 + OVERLAP.total_seconds() - 1)
    assert progress.since == copy.executed_at - OVERLAP
