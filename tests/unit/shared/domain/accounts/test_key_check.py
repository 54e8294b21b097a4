"""The verdict about a key follows from the permissions that its broker reports and from what the operator allowed."""

import pytest

from shared.domain.accounts.key_check import KeyVerdict, judge_key


def test_paper_keys_may_do_what_they_like() -> None:
    """Alpaca reports no permissions, so its keys count as "may withdraw".

    A paper account holds no real money to lose.
    """
    verdict, _ = judge_key(may_trade=True, may_withdraw=True, is_paper=True, allowed=False)
    assert verdict == "fine"
    verdict, _ = judge_key(may_trade=True, may_withdraw=True, is_paper=False, allowed=False)
    assert verdict == "may_withdraw"


@pytest.mark.parametrize(
    ("may_trade", "may_withdraw", "allowed", "expected"),
    [
        (True, False, False, KeyVerdict.FINE),
        (True, True, False, KeyVerdict.MAY_WITHDRAW),
        (True, True, True, KeyVerdict.ALLOWED),
        (False, False, False, KeyVerdict.MAY_NOT_TRADE),
        (False, True, True, KeyVerdict.MAY_NOT_TRADE),
    ],
)
def test_a_key_must_trade_and_may_withdraw_only_if_allowed(
    may_trade: bool, may_withdraw: bool, allowed: bool, expected: KeyVerdict
) -> None:
    """A key that may not trade is useless, whatever else it may do."""
    verdict, _ = judge_key(may_trade=may_trade, may_withdraw=may_withdraw, is_paper=False, allowed=allowed)
    assert verdict is expected
