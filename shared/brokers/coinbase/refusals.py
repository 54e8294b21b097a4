"""Lists Coinbase's reasons and error codes, each with the reaction to it.

Coinbase answers a refused order with `success: false` and no order id. Such a reply is a refusal, whatever its reason is
called: a reason only says which refusal. A request that could not be served has an HTTP status and an error code; here a
code that is not listed is an unknown outcome.
"""

from collections.abc import Mapping
from typing import Any, Final

from shared.brokers.refusals import Reaction, Refusals, reactions

_CREATE_ORDER: Final = (
    "docs.cdp.coinbase.com, Advanced Trade, Create Order, new_order_failure_reason and preview_failure_reason"
)
_ERRORS: Final = "docs.cdp.coinbase.com, Advanced Trade, REST API errors: the codes of gRPC"
_OLDER_ERRORS: Final = "docs.cdp.coinbase.com, Coinbase App, error codes"

# Without PREVIEW_, which a preview puts in front of the same reasons. Every other reason means REJECT.
REASONS: Final = (
    Refusals(
        Reaction.NOT_ENOUGH_MONEY,
        _CREATE_ORDER,
        (
            "INSUFFICIENT_FUND",
            "INSUFFICIENT_FUNDS",
            "INSUFFICIENT_FUNDS_FOR_FUTURES",
            "INSUFFICIENT_LEDGER_BALANCE",
            "INVALID_LEDGER_BALANCE",
        ),
    ),
    # An order of this id exists.
    Refusals(Reaction.LOOK_UP, _CREATE_ORDER, ("DUPLICATE_CLIENT_ORDER_ID",)),
    Refusals(Reaction.KEY, _ERRORS, ("PERMISSION_DENIED", "UNAUTHENTICATED")),
    Refusals(Reaction.SLOW_DOWN, _CREATE_ORDER, ("RFQ_RATE_LIMITED",)),
    Refusals(
        Reaction.REJECT,
        f"{_CREATE_ORDER}: refuses one product or region, and not the account",
        (
            "COMPLIANCE_PURCHASE_LIMIT_EXCEEDED",
            "GEOFENCING_RESTRICTION",
            "INELIGIBLE_PAIR",
            "PRODUCT_TRADING_HALTED",
            "TRADING_DISABLED",
            "UNTRADABLE_PRODUCT",
        ),
    ),
    Refusals(
        Reaction.REJECT,
        f"{_CREATE_ORDER}: the order or the market does not allow it",
        (
            "BREACHED_PRICE_LIMIT",
            "BREACHED_RISK_LIMIT",
            "COMMANDER_REJECTED_NEW_ORDER",
            "INVALID_BASE_SIZE_TOO_LARGE",
            "INVALID_BASE_SIZE_TOO_SMALL",
            "INVALID_LIMIT_PRICE",
            "INVALID_LIMIT_PRICE_POST_ONLY",
            "INVALID_NO_LIQUIDITY",
            "INVALID_ORDER_CONFIG",
            "INVALID_PRICE_PRECISION",
            "INVALID_PRICE_TOO_LARGE",
            "INVALID_PRODUCT_ID",
            "INVALID_QUOTE_SIZE_PRECISION",
            "INVALID_QUOTE_SIZE_TOO_LARGE",
            "INVALID_QUOTE_SIZE_TOO_SMALL",
            "INVALID_REQUEST",
            "INVALID_SIDE",
            "INVALID_SIZE_PRECISION",
            "INVALID_STOP_PRICE",
            "IN_LIQUIDATION",
            "LIMIT_ORDER_PRICE_EXCEEDS_PRICE_BAND_ON_BUY",
            "LIMIT_ORDER_PRICE_EXCEEDS_PRICE_BAND_ON_SELL",
            "LIMIT_PRICE_TOO_FAR_FROM_MARKET",
            "MAX_DAILY_VOLUME_NOTIONAL_BREACHED",
            "MAX_ORDERS_REACHED",
            "MISSING_COMMISSION_RATE",
            "MISSING_MARKET_TRADE_DATA",
            "MISSING_PRODUCT_PRICE_BOOK",
            "NOT_ALLOWED_BY_MARKET_STATE",
            "OPEN_ORDER_LIMIT_EXCEEDED",
            "ORDER_ENTRY_DISABLED",
            "RISK_PROXY_FAILURE",
            "STOP_PRICE_ABOVE_LAST_TRADE_PRICE",
            "STOP_PRICE_BELOW_LAST_TRADE_PRICE",
            "UNSUPPORTED_ORDER_CONFIGURATION",
        ),
    ),
)

# Codes of requests that were not served, in lower case.
ERRORS: Final = (
    Refusals(Reaction.REJECT, _ERRORS, ("failed_precondition", "invalid_argument", "out_of_range", "unimplemented")),
    Refusals(Reaction.REJECT, _OLDER_ERRORS, ("invalid_request", "param_required", "validation_error")),
    Refusals(Reaction.NOT_FOUND, f"{_ERRORS}, and {_OLDER_ERRORS}", ("not_found",)),
    Refusals(Reaction.KEY, _ERRORS, ("permission_denied", "unauthenticated")),
    Refusals(
        Reaction.KEY,
        _OLDER_ERRORS,
        (
            "authentication_error",
            "identity_verification_required",
            "invalid_authentication_method",
            "invalid_scope",
            "invalid_token",
            "jumio_face_match_verification_required",
            "jumio_verification_required",
            "personal_details_required",
            "revoked_token",
            "two_factor_required",
            "unauthorized",
            "unverified_email",
        ),
    ),
    Refusals(Reaction.CLOCK, _OLDER_ERRORS, ("expired_token",)),
    # A repeated order of the same id is answered with the first one, so a second request could not even double it.
    Refusals(
        Reaction.SLOW_DOWN,
        "docs.cdp.coinbase.com, REST API Rate Limits: a limited request gets HTTP 429",
        ("rate_limit_exceeded", "resource_exhausted"),
    ),
    Refusals(Reaction.BUSY, _ERRORS, ("unavailable",)),
    Refusals(
        Reaction.BUSY,
        f"{_ERRORS}: nothing is said about the order",
        ("aborted", "cancelled", "data_loss", "deadline_exceeded", "internal", "unknown"),
    ),
    Refusals(Reaction.BUSY, _OLDER_ERRORS, ("internal_server_error",)),
    Refusals(Reaction.LOOK_UP, _ERRORS, ("already_exists",)),
)

_PREVIEW: Final = "PREVIEW_"
# Reasons that say nothing, where another field says more.
_NOTHING: Final = frozenset({"", "UNKNOWN_FAILURE_REASON", "UNKNOWN_CREATE_ORDER_FAILURE_REASON"})
_TO_REASONS: Final = reactions(REASONS)
_TO_ERRORS: Final = reactions(ERRORS)
# A lower status shows no refusal, and a higher one is trouble at Coinbase.
_REFUSING: Final = (400, 401, 403, 404, 429)


def reaction_to_failure(reply: Mapping[str, Any]) -> Reaction:
    """The reaction to a reply with `success: false`. Coinbase gives the reason in up to four fields, which vary."""
    details = reply.get("error_response")
    reported = details if isinstance(details, dict) else {}
    names = [reported.get(field) for field in ("error", "new_order_failure_reason", "preview_failure_reason")]
    names.append(reply.get("failure_reason"))
    reasons = {str(name or "").upper().replace(_PREVIEW, "") for name in names} - _NOTHING
    wanted = {_TO_REASONS.get(reason, Reaction.REJECT) for reason in reasons}
    if Reaction.LOOK_UP in wanted:
        return Reaction.LOOK_UP
    # It is a refusal also without a reason, or with two that do not agree.
    return wanted.pop() if len(wanted) == 1 else Reaction.REJECT


def reaction_to_error(status: int, code: str) -> Reaction:
    """The reaction to the `error` of a reply with this HTTP status."""
    if status not in _REFUSING:
        return Reaction.LOOK_UP
    return _TO_ERRORS.get(code.lower()) or _TO_REASONS.get(code.upper(), Reaction.LOOK_UP)
