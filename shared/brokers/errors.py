"""Broker errors as classes by what the caller does next."""

from typing import Final

from shared.domain.errors import NijaError


class BrokerError(NijaError):
    """Root of all that a gateway raises. The text is the broker's own, without keys."""


class Rejected(BrokerError):
    """The broker refused for certain; sending the same again is pointless."""


class InsufficientFunds(Rejected):
    """Refused because the account has too little of what would be paid or sold."""


class KeyRefused(BrokerError):
    """The key, its permissions or the account were refused: disable this connection and report it."""


class InvalidNonce(BrokerError):
    """Refused for certain because of the nonce or clock; send again with a fresh one."""


class RateLimited(BrokerError):
    """Too many requests. Back off; after an order POST, look up before sending again."""

    DEFAULT_WAIT_SECONDS: Final = 5.0
    """When the broker does not say how long."""

    def __init__(self, message: str, retry_after_seconds: float = DEFAULT_WAIT_SECONDS) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NotSent(BrokerError):
    """No connection was made, so the request never reached the broker; send again later."""


class Expired(Rejected):
    """The broker saw the request after its deadline and did not execute it; it may be sent afresh."""


class OutcomeUnknown(BrokerError):
    """No clear answer. After an order POST only a look-up can tell; after a read, try again."""


class NotVisibleYet(OutcomeUnknown):
    """The broker did answer, but does not show yet what became of an order that it must know; ask again."""


class Throttled(NotSent):
    """Held back by nija itself, within the broker's limits or while it is in trouble: nothing was sent; send later."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
