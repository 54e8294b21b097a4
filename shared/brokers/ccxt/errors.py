"""Translates ccxt's exceptions into our error classes, which say what the caller does next.

The definite rejections are an allow-list. An error that is not on it is an unknown outcome. Each broker's folder lists
the refusals that the broker documents. ccxt's own tables are not used: they call some unknown outcomes rejected.
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
from shared.brokers.refusals import Reaction

MAXIMUM_TEXT_LENGTH = 300


class DeadlineElapsed(ccxt.OperationRejected):  # type: ignore[misc]  # ccxt ships no type marker
    """The broker saw the request after its deadline and did not execute it."""


class UnclearAnswer(ccxt.ExchangeError):  # type: ignore[misc]  # ccxt ships no type marker
    """The broker answered, and the answer does not show the outcome."""


class BackOff(ccxt.RateLimitExceeded):  # type: ignore[misc]  # ccxt ships no type marker
    """A rate limit with the time to wait. By default the request was certainly refused."""

    def __init__(self, message: str, retry_after_seconds: float, *, certainly_refused: bool = True) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.certainly_refused = certainly_refused


class AccountBackOff(BackOff):
    """A limit of the account alone: other accounts at the same address may continue."""


# The first match wins, so a subclass stands before its parents.
_CLASSES: tuple[tuple[type[Exception], type[BrokerError]], ...] = (
    (ccxt.InvalidNonce, InvalidNonce),
    (ccxt.ExchangeClosedByUser, NotSent),
    (ccxt.RateLimitExceeded, RateLimited),
    (ccxt.DDoSProtection, RateLimited),
    (ccxt.AuthenticationError, KeyRefused),
    (ccxt.InsufficientFunds, InsufficientFunds),
    # The order exists already. A look-up must show which one it is and how much of it is filled.
    (ccxt.DuplicateOrderId, OutcomeUnknown),
    (DeadlineElapsed, Expired),
    (ccxt.InvalidOrder, Rejected),
    (ccxt.BadRequest, Rejected),
    (ccxt.ArgumentsRequired, Rejected),
    (ccxt.NotSupported, Rejected),
    (ccxt.OperationRejected, Rejected),
)

# The ccxt class for each reaction. SLOW_DOWN is missing, because `BackOff` needs the time to wait.
_CLASS_OF_REACTION: dict[Reaction, type[Exception]] = {
    Reaction.REJECT: ccxt.OperationRejected,
    Reaction.NOT_ENOUGH_MONEY: ccxt.InsufficientFunds,
    Reaction.NOT_FOUND: ccxt.OrderNotFound,
    Reaction.NOT_LISTED: ccxt.BadSymbol,
    Reaction.EXPIRED: DeadlineElapsed,
    Reaction.CLOCK: ccxt.InvalidNonce,
    Reaction.KEY: ccxt.AuthenticationError,
    Reaction.BUSY: ccxt.ExchangeNotAvailable,
    Reaction.LOOK_UP: UnclearAnswer,
}

# aiohttp raises these before a connection exists.
_BEFORE_SENDING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def shortened(text: str) -> str:
    """The text on one line and without unprintable characters, capped at 300 characters."""
    line = "".join(character if character.isprintable() else " " for character in text[: MAXIMUM_TEXT_LENGTH * 2])
    line = " ".join(line.split())
    return line if len(line) <= MAXIMUM_TEXT_LENGTH else line[: MAXIMUM_TEXT_LENGTH - 1] + "…"


def with_hint(text: str, hint: str) -> str:
    """The broker's words and the hint. Long words are cut, so that the hint stays complete."""
    room = MAXIMUM_TEXT_LENGTH - len(hint) - len("; ")
    return f"{text if len(text) <= room else text[: room - 1] + '…'}; {hint}"


def error_for(reaction: Reaction, text: str, retry_after_seconds: float) -> Exception:
    """The ccxt error to raise. `retry_after_seconds` is used for rate limits only."""
    if reaction is Reaction.SLOW_DOWN:
        return BackOff(text, retry_after_seconds)
    return _CLASS_OF_REACTION[reaction](text)


def classify(error: ccxt.BaseError) -> BrokerError:
    """The error to raise instead of ccxt's."""
    text = shortened(str(error)) or type(error).__name__
    if isinstance(error.__cause__, _BEFORE_SENDING):
        return NotSent(f"no connection: {text}")
    for ccxt_class, our_class in _CLASSES:
        if isinstance(error, ccxt_class):
            if our_class is RateLimited and isinstance(error, BackOff):
                return RateLimited(text, error.retry_after_seconds, certainly_refused=error.certainly_refused)
            return our_class(text)
    return OutcomeUnknown(f"{type(error).__name__}: {text}", answered=isinstance(error, UnclearAnswer))
