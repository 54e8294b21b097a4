"""The result of a fill counts each follower once, and a fill counts as late only when it has had its time."""

from datetime import timedelta

from shared.domain.events import Outcome
from shared.domain.fill import Side
from shared.domain.fill_result import EndCount, FillResult, is_late, pause_of, result_of
from shared.domain.symbol import Symbol
from tests.support.examples import NOW


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def a_result(*ended: EndCount, pending: int = 0) -> FillResult:
    return result_of(7, Symbol.parse("BTC/USD"), Side.BUY, NOW, ended, pending)


def test_each_follower_counts_once_and_the_last_end_gives_the_time() -> None:
    """copied + skipped + failed + pending = total. The most frequent reason comes first."""
    ended = (
        EndCount(Outcome.COPIED, None, 900, NOW + after(3)),
        EndCount(Outcome.SKIPPED, "paused", 2, NOW + after(1)),
        EndCount(Outcome.SKIPPED, "below_minimum", 90, NOW + after(1)),
        EndCount(Outcome.FAILED, "insufficient_funds", 8, NOW + after(4.5)),
    )
    result = a_result(*ended)
    assert (result.total, result.copied, result.skipped, result.failed) == (1000, 900, 92, 8)
    assert list(result.skipped_by_reason.items()) == [("below_minimum", 90), ("paused", 2)]
    assert result.failed_by_reason == {"insufficient_funds": 8}
    assert result.took == after(4.5)
    assert a_result(*ended, pending=5).total == 1005


def test_an_open_fill_and_one_without_followers_took_no_time() -> None:
    """Nothing can be said about the duration of a fill with pending copies, or without any copy."""
    assert a_result(EndCount(Outcome.COPIED, None, 1, NOW), pending=1).took is None
    assert (a_result().total, a_result().took) == (0, None)


def test_a_fill_is_late_after_a_minute_under_the_eyes_of_the_process() -> None:
    """A process that has just started gives the events of the time before it a minute to reach the ledger."""
    assert not is_late(NOW, NOW, NOW + after(59))
    assert is_late(NOW, NOW, NOW + after(60))
    assert not is_late(NOW, NOW + after(3600), NOW + after(3659))
    assert is_late(NOW, NOW + after(3600), NOW + after(3660))


def test_the_older_a_fill_the_rarer_it_is_looked_at() -> None:
    """A new fill is looked at every second, and one that is open for days once a minute."""
    assert pause_of(NOW, NOW - after(5)) == pause_of(NOW, NOW + after(5)) == after(1)
    assert pause_of(NOW, NOW + after(200)) == after(10)
    assert pause_of(NOW, NOW + timedelta(days=3)) == after(60)
