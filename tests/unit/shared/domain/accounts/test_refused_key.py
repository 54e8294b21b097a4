"""Refusals show a bad key only if another account of the same address was accepted meanwhile."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.accounts.refused_key import Acceptance, RefusedKey

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def minutes(count: float) -> datetime:
    return START + timedelta(minutes=count)


def refused(*at_minutes: float, trading: bool = False) -> RefusedKey:
    """A run of refusals of alice's key."""
    run = RefusedKey.first("alice", "hash", minutes(at_minutes[0]), "EAPI:Invalid key", trading=trading)
    for each in at_minutes[1:]:
        run = run.again(minutes(each), "EAPI:Invalid key", trading=trading)
    return run


def accepted(at_minutes: float, account: str = "bob") -> Acceptance:
    return Acceptance(account=account, at=minutes(at_minutes))


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (refused(0, 5, 10), True),
        (refused(0, 5, 9.9), False),
        (refused(0, 10), False),
        (refused(*range(11)), True),
    ],
    ids=["three in ten minutes", "a moment too short", "only two", "one in each minute"],
)
def test_a_key_is_bad_after_three_refusals_over_ten_minutes(run: RefusedKey, expected: bool) -> None:
    """Less may be a short trouble of the broker."""
    assert run.is_long is expected


@pytest.mark.parametrize(
    ("witness", "expected"),
    [
        (None, False),
        (accepted(-1), False),
        (accepted(0.5), False),
        (accepted(1), True),
        (accepted(10), True),
        (accepted(11), False),
        (accepted(5, account="alice"), False),
    ],
    ids=["none", "before", "just before the address changed", "after a minute", "at the end", "later", "itself"],
)
def test_only_another_account_that_was_accepted_meanwhile_is_a_witness(
    witness: Acceptance | None, expected: bool
) -> None:
    """Without one, the address may have changed, or the broker may refuse everything."""
    assert refused(0, 5, 10).has_witness(witness, None) is expected


def test_an_accepted_reading_is_no_witness_when_only_orders_are_refused() -> None:
    """The broker may refuse the orders of all accounts, and serve readings."""
    run = refused(0, 5, 10, trading=True)
    assert not run.has_witness(accepted(5), None)
    assert run.has_witness(None, accepted(5))


def test_an_accepted_reading_does_not_end_refusals_of_orders() -> None:
    """The key may be one that is allowed to read only. An accepted order ends them."""
    run = refused(0, 1, trading=True).again(minutes(2), "EAPI:Invalid key", trading=False)
    after = run.accepted(trading=False)
    assert after is not None
    assert (after.reading, after.trading) == (False, True)
    assert after.accepted(trading=True) is None
    assert refused(0).accepted(trading=False) is None


def test_a_refused_key_is_tried_again_after_a_minute() -> None:
    """Each refusal begins a new wait."""
    run = refused(0, 1.5)
    assert run.waits(minutes(2)) == timedelta(seconds=30)
    assert run.waits(minutes(2.5)) <= timedelta()
