"""Lists the reasons why a follower did not copy a fill. The lists are closed, so that every report can count them."""

from enum import StrEnum

from shared.domain.stop import StopMode


class SkipReason(StrEnum):
    """nija decided not to order; nothing was sent, or what was sent was certainly not executed."""

    NO_POSITION = "no_position"
    """The master sold or spent what it had not bought under nija, or the follower holds nothing copied of it."""
    CASH_CONVERSION = "cash_conversion"
    """Both currencies of the pair are cash, so nothing was opened or closed."""
    BELOW_MINIMUM = "below_minimum"
    """Too small for the broker, or an open too small for the policy; carried into the next order in the same direction.
    """
    PAUSED = "paused"
    DISABLED = "disabled"
    """The follower is disabled, for example because its key was refused for a long time."""
    STOPPED = "stopped"
    """An operator halted trading. Opens are skipped, and exits wait."""
    CLOSE_ONLY = "close_only"
    """An operator allows exits only."""
    KEY_REFUSED = "key_refused"
    """The broker refuses the follower's key now. Opens are skipped, and exits wait."""
    ACCOUNT_UNKNOWN = "account_unknown"
    """The follower's account was never read, or what is stored of it cannot be read: its equity is not known."""
    ACCOUNT_STALE = "account_stale"
    """The follower's account was last read too long ago to size an open."""
    ACCOUNT_UNAVAILABLE = "account_unavailable"
    """Reading the follower's account failed three times in a row."""
    POLICY_UNREADABLE = "policy_unreadable"
    """The follower's policy is stored in a form that the engine does not know."""
    NO_EQUITY = "no_equity"
    MASTER_EQUITY_UNKNOWN = "master_equity_unknown"
    """Too much of the master's account has no price, so the right size of an open is not known."""
    NO_QUOTE_CASH = "no_quote_cash"
    """The follower's free quote currency pays for less than the smallest order."""
    TOO_OLD = "too_old"
    """The open reached its age limit before it could be sent."""
    PRICE_LIMIT = "price_limit"
    """Nothing could be bought at the price limit of the open or below it, before its age limit."""
    MARKET_CLOSED = "market_closed"
    """The market of the symbol was closed when the open was to be sent."""
    EXIT_FOLLOWED = "exit_followed"
    """An exit of the asset arrived while the open waited at the broker, so the open was canceled without a fill.

    Or Redis lost how the open ended, and no order was found at the broker. The exit may have been executed already.
    """
    CANNOT_BE_PLANNED = "cannot_be_planned"
    """The quantity could not be computed from the inputs. The log has the error."""
    NOT_REPEATED = "not_repeated"
    """Redis lost what had been decided, it would be skipped now, and no order was found at the broker."""
    UNSUPPORTED_SYMBOL = "unsupported_symbol"
    INSTRUMENT_UNREADABLE = "instrument_unreadable"
    """The symbol's listing is stored in a form that the engine does not know."""


class FailReason(StrEnum):
    """nija ordered, and the broker did not execute."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    REJECTED = "rejected"
    """By the broker, for certain; its text is in the ledger."""
    CANCELED = "canceled"
    """Accepted, then canceled or expired at the broker without any fill."""


def skip_reason_of(stop: StopMode) -> SkipReason:
    """Why a stop of this mode skips an open."""
    return SkipReason.STOPPED if stop is StopMode.HALT else SkipReason.CLOSE_ONLY
