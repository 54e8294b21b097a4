"""Lists the texts that Alpaca answers with HTTP 403, each with the reaction to it.

The codes do not help: 40310000 stands for an order, an asset, a lack of money and a blocked account alike. With other
statuses the status decides (`errors.py`). A 403 whose text is not listed refuses this one request. Only a listed
sentence as a whole is about the account or its key: "account is not authorized to trade" is, and the same sentence with
"options" behind it is not.
"""

import re
from typing import Final

from shared.brokers.refusals import Reaction, Refusals, reactions

_SERVER: Final = "github.com/alpacahq/gobroker, rest/api/controller/order and service/order"
_GUIDE: Final = "alpaca.markets/learn, How to fix common trading API errors"
_RECORDED: Final = "recorded replies to POST /v2/orders in public bug reports"

# They mean the key. The other sentences about the account mean that the key is good.
KEY_SENTENCES: Final = (
    "access key verification failed",
    "forbidden",
    "not authorized",
    "request is not authorized",
    "unauthorized",
)

REFUSALS: Final = (
    Refusals(
        Reaction.NOT_ENOUGH_MONEY,
        f"{_SERVER}, and {_RECORDED}",
        (
            "insufficient balance for ",
            "insufficient buying power",
            "insufficient day trading buying power",
            "insufficient daytrading buying power",
            "insufficient qty available for order",
        ),
    ),
    # They refuse one side, one asset or one kind of order. A sale may pass where a purchase does not.
    Refusals(
        Reaction.REJECT,
        f"{_SERVER}, and {_GUIDE}",
        (
            "account is restricted to liquidation only",
            "trade denied due to pattern day trading protection",
        ),
    ),
    Refusals(
        Reaction.REJECT,
        _RECORDED,
        (
            "account is not allowed to short",
            "account is not authorized to trade options",
            "account not eligible to trade uncovered option contracts",
            "asset ",
            "cannot open a long buy while a short sell order is open",
            "cannot open a short sell while a long buy order is open",
            "cost basis must be >= minimal amount of order",
            "crypto orders not allowed for account",
            "crypto trading is not available in your jurisdiction",
            "notional amount must be >= ",
            "potential wash trade detected",
            "us_equity orders not allowed for account",
            "your account is set to liquidation only",
        ),
    ),
    Refusals(
        Reaction.KEY,
        f"{_SERVER}: nothing may be traded, whatever the order is",
        (
            "account is not authorized to trade",
            "new orders are rejected by user request",
        ),
    ),
    Refusals(
        Reaction.KEY,
        "docs.alpaca.markets, Account: account_blocked, trading_blocked and status",
        (
            "account has been blocked",
            "account has been closed",
            "account has been suspended",
            "account is blocked",
            "account is closed",
            "account is disabled",
            "account is inactive",
            "account is not active",
            "account is not allowed to trade",
            "account is suspended",
            "trading is blocked",
            "trading is blocked for this account",
        ),
    ),
    Refusals(
        Reaction.KEY,
        f"{_RECORDED}: the key",
        KEY_SENTENCES,
    ),
)

_REACTIONS: Final = reactions(REFUSALS)
_SENTENCE: Final = re.compile(r"[^.:,;(]*")


def reaction_to(message: str) -> Reaction:
    """The reaction to the `message` of a 403."""
    if _REACTIONS.get(_sentence(message)) is Reaction.KEY:
        return Reaction.KEY
    return Reaction.NOT_ENOUGH_MONEY if "insufficient" in message.lower() else Reaction.REJECT


def is_about_key(message: str) -> bool:
    """Whether a 403 means the key itself, and not the account behind it."""
    return _sentence(message) in KEY_SENTENCES


def _sentence(message: str) -> str:
    found = _SENTENCE.match(message.strip().lower())
    return "" if found is None else found[0].strip()
