"""Defines the classes of broker errors, one for each reaction that a caller can have."""

from typing import Final

from shared.domain.errors import NijaError


class BrokerError(NijaError):
    """Root of all errors that a gateway raises. The text is the broker's own, without keys."""


class Rejected(BrokerError):
    """The broker certainly refused; sending the same request again is pointless."""


class InsufficientFunds(Rejected):
    """Refused because the account has too little of the currency to be paid or sold."""


class KeyRefused(BrokerError):
    """The broker refused the key, its permissions or the account: disable this connection and report it."""


class InvalidNonce(BrokerError):
    """Certainly refused because of the nonce or clock; send again with a fresh one."""


class RateLimited(BrokerError):
    """Too many requests. Back off. An order is looked up before it is sent again, unless it was certainly refused."""

    DEFAULT_WAIT_SECONDS: Final = 5.0
    """Used when the broker does not say how long to wait."""

    def __init__(
        self, message: str, retry_after_seconds: float = DEFAULT_WAIT_SECONDS, *, certainly_refused: bool = False
    ) -> None:
        """`certainly_refused`: the broker documents that it does not execute a request that it answers in this way."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.certainly_refused = certainly_refused


class NotSent(BrokerError):
    """No connection was made, so the request never reached the broker; send again later."""


class Expired(Rejected):
    """The broker saw the request after its deadline and did not execute it; it may be sent again."""


class OutcomeUnknown(BrokerError):
    """There is no clear answer. After an order POST only a look-up shows the outcome; after a read, try again."""

    def __init__(self, message: str, *, answered: bool = False) -> None:
        """`answered`: the broker works and answered, in words that are on no list or that report an existing order."""
        super().__init__(message)
        self.answered = answered


class NotVisibleYet(OutcomeUnknown):
    """The broker answered, but does not yet show an order that it must know; read again later."""


class Throttled(NotSent):
    """Held back by nija, because of the broker's limits or trouble at the broker. Nothing was sent; send later."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
