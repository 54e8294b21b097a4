"""Lists the errors that Kraken answers, each with the reaction to it.

An error is `<severity><category>:<text>`, often with more text behind it. The longest listed text that an error begins
with decides. Errors of funding, earning and futures are left out, because nija sends no such request.
"""

from typing import Final

from shared.brokers.refusals import Reaction, Refusals, longest_beginning, reactions

_REST: Final = "docs.kraken.com, REST API, Error Details"
_LIMITS: Final = (
    "docs.kraken.com, REST API and Matching Engine Rate Limits: the call is restricted, the order is rejected"
)
_WEBSOCKET: Final = "docs.kraken.com, WebSocket API, errors of addOrder"
_SUPPORT: Final = "support.kraken.com, API error messages"

REFUSALS: Final = (
    Refusals(
        Reaction.REJECT,
        _REST,
        (
            "EGeneral:Invalid arguments",
            "EOrder:Cannot open position",
            "EOrder:Margin allowance exceeded",
            "EOrder:Margin level too low",
            "EOrder:Margin position size exceeded",
            "EOrder:Insufficient margin",
            "EOrder:Order minimum not met",
            "EOrder:Cost minimum not met",
            "EOrder:Tick size check failed",
            "EOrder:Orders limit exceeded",
            "EOrder:Positions limit exceeded",
            "EOrder:Reduce only",
            "EOrder:Unknown position",
            "EBM:limit exceeded",
            # cancel_only, post_only, limit_only, reduce_only and any later mode: the market refuses this kind of order.
            "EService:Market in ",
        ),
    ),
    Refusals(
        Reaction.REJECT,
        _WEBSOCKET,
        (
            # With the asset and region behind it: it refuses one asset and not the account.
            "EAccount:Invalid permissions",
            "EOrder:Cannot open opposing position",
            "EOrder:Invalid price",
            "EOrder:Scheduled orders limit exceeded",
            "EOrder:Trading agreement required",
            "ETrade:Invalid request",
        ),
    ),
    Refusals(
        Reaction.REJECT,
        _SUPPORT,
        (
            "EAPI:Bad request",
            "EAPI:Feature disabled",
            "EGeneral:Unknown method",
            "EOrder:Cancel pending",
            "EOrder:Invalid order",
            "EOrder:Invalid volume",
            "EOrder:Market is closed",
            "EOrder:Position size exceeded",
            "EOrder:Post only order",
            "EOrder:Scheduled orders disabled",
            "EOrder:Trading disabled",
        ),
    ),
    Refusals(Reaction.NOT_FOUND, _SUPPORT, ("EOrder:Unknown order",)),
    Refusals(
        Reaction.NOT_LISTED,
        _SUPPORT,
        (
            "EGeneral:Unknown asset",
            "EQuery:Invalid asset pair",
            "EQuery:Unknown asset",
        ),
    ),
    Refusals(Reaction.NOT_ENOUGH_MONEY, _REST, ("EOrder:Insufficient funds",)),
    # It means that an OPEN order has this id: an earlier request arrived.
    Refusals(
        Reaction.LOOK_UP,
        "recorded 2026-09-10, while the order of that id was open",
        ("EGeneral:Invalid arguments:cl_ord_id not unique",),
    ),
    Refusals(Reaction.BUSY, f"{_REST}: the matching engine or API is offline", ("EService:Unavailable",)),
    Refusals(
        Reaction.BUSY,
        _SUPPORT,
        ("EDatabase:Internal error", "EGeneral:Internal error", "EService:Busy", "EService:Timeout"),
    ),
    Refusals(Reaction.EXPIRED, _REST, ("EService:Deadline elapsed",)),
    Refusals(Reaction.CLOCK, _REST, ("EAPI:Invalid nonce",)),
    Refusals(
        Reaction.SLOW_DOWN,
        _LIMITS,
        (
            "EAPI:Rate limit exceeded",
            "EOrder:Domain rate limit exceeded",
            "EOrder:Rate limit exceeded",
            "EService:Throttled",
        ),
    ),
    Refusals(
        Reaction.SLOW_DOWN,
        f"{_SUPPORT}, and {_WEBSOCKET}: refused before the order is read",
        (
            "EAuth:Rate limit exceeded",
            "EAuth:Too many requests",
            "EGeneral:Temporary lockout",
            "EGeneral:Too many requests",
        ),
    ),
    Refusals(
        Reaction.KEY,
        _REST,
        ("EAPI:Invalid key", "EAPI:Invalid signature", "EGeneral:Permission denied"),
    ),
    Refusals(
        Reaction.KEY,
        _WEBSOCKET,
        (
            "EAuth:Account temporary disabled",
            "EAuth:Account unconfirmed",
            "EAPI:Invalid session",
            "ESession:Invalid session",
            "ETrade:User Locked",
        ),
    ),
)

_REACTIONS: Final = reactions(REFUSALS)


def reaction_to(error: str) -> Reaction:
    """The reaction to one of Kraken's errors. An error that is not listed is an unknown outcome."""
    return longest_beginning(error.replace(": ", ":"), _REACTIONS) or Reaction.LOOK_UP
