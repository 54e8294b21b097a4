"""ccxt's exceptions in, our classes by what the caller does next out.

The definite rejections are an allow-list; all that is not on it is an unknown outcome. Brokers' own texts that
ccxt does not know are given a class in each broker's client, so that this table is the only one.
"""

import aiohttp
import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.errors import (
    BrokerError,
    Expired,
    InsufficientFunds,
    InvalidNonce,
    KeyRefused,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)

MAXIMUM_TEXT_LENGTH = 300


class DeadlineElapsed(ccxt.OperationRejected):  # type: ignore[misc]  # ccxt ships no type marker
    """The broker saw the request after its deadline and did not execute it."""


class BackOff(ccxt.RateLimitExceeded):  # type: ignore[misc]  # ccxt ships no type marker
    """A rate limit with the broker's own word on how long to wait."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class AccountBackOff(BackOff):
    """A limit of the account alone: others at the same address may go on."""


# First match wins, so a subclass stands before its parents.
_CLASSES: tuple[tuple[type[Exception], type[BrokerError]], ...] = (
    (ccxt.InvalidNonce, InvalidNonce),
    (ccxt.ExchangeClosedByUser, NotSent),
    (ccxt.RateLimitExceeded, RateLimited),
    (ccxt.DDoSProtection, RateLimited),
    (ccxt.AuthenticationError, KeyRefused),
    (ccxt.InsufficientFunds, InsufficientFunds),
    # The order is there already, so a look-up must tell which one and how far it went.
    (ccxt.DuplicateOrderId, OutcomeUnknown),
    (DeadlineElapsed, Expired),
    (ccxt.InvalidOrder, Rejected),
    (ccxt.BadRequest, Rejected),
    (ccxt.ArgumentsRequired, Rejected),
    (ccxt.NotSupported, Rejected),
    (ccxt.OperationRejected, Rejected),
)

# Raised by aiohttp while it still looks for a connection.
_BEFORE_SENDING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def shortened(text: str) -> str:
    """The text on one line and without unprintable characters, capped at 300 characters."""
    line = "".join(character if character.isprintable() else " " for character in text[: MAXIMUM_TEXT_LENGTH * 2])
    line = " ".join(line.split())
    return line if len(line) <= MAXIMUM_TEXT_LENGTH else line[: MAXIMUM_TEXT_LENGTH - 1] + "…"


def with_hint(text: str, hint: str) -> str:
    """The broker's words and what to do about them; long words are cut, so that the hint is whole."""
    room = MAXIMUM_TEXT_LENGTH - len(hint) - len("; ")
    return f"{text if len(text) <= room else text[: room - 1] + '…'}; {hint}"


def classify(error: ccxt.BaseError) -> BrokerError:
    """The error to raise instead of ccxt's."""
    text = shortened(str(error)) or type(error).__name__
    if isinstance(error.__cause__, _BEFORE_SENDING):
        return NotSent(f"no connection: {text}")
    for ccxt_class, our_class in _CLASSES:
        if isinstance(error, ccxt_class):
            if our_class is RateLimited and isinstance(error, BackOff):
                return RateLimited(text, error.retry_after_seconds)
            return our_class(text)
    return OutcomeUnknown(f"{type(error).__name__}: {text}")
