"""Maps each of Coinbase's error codes to ccxt's class for it. Pure.

The definite rejections are listed. A code that is not listed means an unknown outcome.
"""

from collections.abc import Mapping
from typing import Any

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker

# Codes that give no reason.
_NOTHING = frozenset(
    {"", "UNKNOWN_FAILURE_REASON", "UNKNOWN_PREVIEW_FAILURE_REASON", "UNKNOWN_CREATE_ORDER_FAILURE_REASON"}
)
_PREVIEW = "PREVIEW_"

# Reasons why an order was not accepted. A preview has the same reasons with PREVIEW_ in front.
_ORDER_FAILURES: Mapping[str, type[Exception]] = {
    "INSUFFICIENT_FUND": ccxt.InsufficientFunds,
    "INSUFFICIENT_FUNDS": ccxt.InsufficientFunds,
    "INSUFFICIENT_LEDGER_BALANCE": ccxt.InsufficientFunds,
    "INVALID_LEDGER_BALANCE": ccxt.InsufficientFunds,
    "INSUFFICIENT_FUNDS_FOR_FUTURES": ccxt.InsufficientFunds,
    # An order with this id exists, so a look-up must show which one.
    "DUPLICATE_CLIENT_ORDER_ID": ccxt.DuplicateOrderId,
    "UNSUPPORTED_ORDER_CONFIGURATION": ccxt.BadRequest,
    "INVALID_ORDER_CONFIG": ccxt.BadRequest,
    "INVALID_REQUEST": ccxt.BadRequest,
    "INVALID_ARGUMENT": ccxt.BadRequest,
    "INVALID_SIDE": ccxt.InvalidOrder,
    "INVALID_PRODUCT_ID": ccxt.BadSymbol,
    "INELIGIBLE_PAIR": ccxt.BadSymbol,
    "UNTRADABLE_PRODUCT": ccxt.BadSymbol,
    "INVALID_SIZE_PRECISION": ccxt.InvalidOrder,
    "INVALID_QUOTE_SIZE_PRECISION": ccxt.InvalidOrder,
    "INVALID_PRICE_PRECISION": ccxt.InvalidOrder,
    "INVALID_BASE_SIZE_TOO_SMALL": ccxt.InvalidOrder,
    "INVALID_BASE_SIZE_TOO_LARGE": ccxt.InvalidOrder,
    "INVALID_QUOTE_SIZE_TOO_SMALL": ccxt.InvalidOrder,
    "INVALID_QUOTE_SIZE_TOO_LARGE": ccxt.InvalidOrder,
    "INVALID_PRICE_TOO_LARGE": ccxt.InvalidOrder,
    "INVALID_LIMIT_PRICE": ccxt.InvalidOrder,
    "INVALID_LIMIT_PRICE_POST_ONLY": ccxt.InvalidOrder,
    "INVALID_STOP_PRICE": ccxt.InvalidOrder,
    "STOP_PRICE_ABOVE_LAST_TRADE_PRICE": ccxt.InvalidOrder,
    "STOP_PRICE_BELOW_LAST_TRADE_PRICE": ccxt.InvalidOrder,
    "INVALID_NO_LIQUIDITY": ccxt.OperationRejected,
    "ORDER_ENTRY_DISABLED": ccxt.OperationRejected,
    "COMMANDER_REJECTED_NEW_ORDER": ccxt.OperationRejected,
    "MAX_ORDERS_REACHED": ccxt.OperationRejected,
    "OPEN_ORDER_LIMIT_EXCEEDED": ccxt.OperationRejected,
    "GEOFENCING_RESTRICTION": ccxt.PermissionDenied,
    "PERMISSION_DENIED": ccxt.PermissionDenied,
}

# Reasons why a request was not served, in lowercase.
_REQUEST_ERRORS: Mapping[str, type[Exception]] = {
    "invalid_argument": ccxt.BadRequest,
    "invalid_request": ccxt.BadRequest,
    "param_required": ccxt.BadRequest,
    "validation_error": ccxt.BadRequest,
    "failed_precondition": ccxt.OperationRejected,
    "permission_denied": ccxt.PermissionDenied,
    "invalid_scope": ccxt.PermissionDenied,
    "unauthenticated": ccxt.AuthenticationError,
    "unauthorized": ccxt.AuthenticationError,
    "authentication_error": ccxt.AuthenticationError,
    "invalid_authentication_method": ccxt.AuthenticationError,
    "invalid_token": ccxt.AuthenticationError,
    "revoked_token": ccxt.AuthenticationError,
    "two_factor_required": ccxt.AuthenticationError,
    "personal_details_required": ccxt.AuthenticationError,
    "identity_verification_required": ccxt.AuthenticationError,
    "jumio_verification_required": ccxt.AuthenticationError,
    "unverified_email": ccxt.AuthenticationError,
    "not_found": ccxt.OrderNotFound,
    "rate_limit_exceeded": ccxt.RateLimitExceeded,
    "resource_exhausted": ccxt.RateLimitExceeded,
}
_REFUSED = (400, 401, 403, 404, 429)


def order_failure_class(reply: Mapping[str, Any]) -> type[Exception]:
    """The class for a reply with `success: false`. Coinbase gives the reason in up to four fields, which vary."""
    details = reply.get("error_response")
    told = details if isinstance(details, dict) else {}
    names = [told.get(field) for field in ("error", "new_order_failure_reason", "preview_failure_reason")]
    names.append(reply.get("failure_reason"))
    reasons = {str(name).upper().removeprefix(_PREVIEW) for name in names if name and str(name).upper() not in _NOTHING}
    classes: set[type[Exception]] = {_ORDER_FAILURES.get(reason, ccxt.ExchangeError) for reason in reasons}
    if len(classes) == 1:
        return classes.pop()
    # There is no reason, or there are two and the reply does not show which one decided.
    return ccxt.ExchangeError  # type: ignore[no-any-return]  # ccxt ships no type marker


def error_class_of(status: int, code: str) -> type[Exception]:
    """The class for the `error` of a reply with this HTTP status."""
    known = (_REQUEST_ERRORS.get(code.lower()) or _ORDER_FAILURES.get(code.upper())) if status in _REFUSED else None
    if known is not None:
        return known
    return ccxt.ExchangeError  # type: ignore[no-any-return]  # ccxt ships no type marker
