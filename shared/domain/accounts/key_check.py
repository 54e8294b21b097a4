"""Decides whether a key may be used, from the broker's report about it and what the operator allowed. Pure.

A key needs to trade and nothing else. A key that may withdraw is refused unless its owner allowed it by name, because
a thief of such a key can steal the money. A permission that a broker does not report counts as "may withdraw".
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.identity import Broker


class KeyVerdict(StrEnum):
    FINE = "fine"
    """It may trade and may not withdraw."""
    ALLOWED = "allowed"
    """It may withdraw, and its owner allowed it by name."""
    MAY_WITHDRAW = "may_withdraw"
    MAY_NOT_TRADE = "may_not_trade"
    SAME_ACCOUNT = "same_account"
    """It opens the account of another follower or of the master, or another account than the key before."""
    UNSUPPORTED = "unsupported"
    """It opens an account in which nija cannot trade, whatever the key may do."""
    REFUSED = "refused"
    """The broker refused it: unknown, expired, locked, or for another address."""
    NOT_CHECKED = "not_checked"
    """The check got no usable answer from the broker."""
    NOT_SET = "not_set"
    """There is no key here to check. The process that trades with it may have one."""


UNUSABLE = frozenset(
    {
        KeyVerdict.MAY_WITHDRAW,
        KeyVerdict.MAY_NOT_TRADE,
        KeyVerdict.SAME_ACCOUNT,
        KeyVerdict.UNSUPPORTED,
        KeyVerdict.REFUSED,
    }
)


class CheckedKey(BaseModel):
    """One account's key and the result of its check."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    account: str
    role: str
    """`master` or `follower`."""
    verdict: KeyVerdict
    message: str
    """Text for people: what the verdict means, and what would be right."""
    answered: bool = True
    """False: the broker answered with errors only, so the verdict assumes the worst."""
    identity: str | None = None
    """The broker's own id of the account. None: it was not reported."""

    @property
    def usable(self) -> bool:
        """Whether the key may be used for trading. A key that could not be checked may be used."""
        return self.verdict not in UNUSABLE


def judge_key(*, may_trade: bool, may_withdraw: bool, is_paper: bool, allowed: bool) -> tuple[KeyVerdict, str]:
    """The verdict and its meaning. `is_paper`: no real money can leave the account, whatever the broker reports."""
    if not may_trade:
        return KeyVerdict.MAY_NOT_TRADE, "the key may not trade: give it the permission to place and cancel orders"
    if may_withdraw and not is_paper:
        if allowed:
            return KeyVerdict.ALLOWED, "the key may withdraw, and is allowed to by name"
        return (
            KeyVerdict.MAY_WITHDRAW,
            "the key may withdraw (or the broker does not report it): use a key that may only trade, or allow it by name",
        )
    return KeyVerdict.FINE, "the key may trade, and not withdraw"
