"""Lists Binance's error codes for spot trading, each with the reaction to it.

Codes of the WebSocket and FIX interfaces, of margin, futures and lending are left out, because nija sends no such request.
Three codes carry errors of the matching engine and have many meanings, which their texts distinguish.
"""

from typing import Final

from shared.brokers.refusals import Reaction, Refusals, codes, longest_beginning, reactions

_SERVER: Final = "binance-spot-api-docs, errors.md, 10xx General Server or Network issues"
_REQUEST: Final = "binance-spot-api-docs, errors.md, 11xx Request issues"
_ORDER: Final = "binance-spot-api-docs, errors.md, 20xx"
_MESSAGES: Final = "binance-spot-api-docs, errors.md, Messages for -1010, -2010 and -2011"
_LIMITS: Final = "binance-spot-api-docs, rest-api.md, Limits: the order or request over the limit is rejected"

REFUSALS: Final = (
    Refusals(
        Reaction.REJECT,
        f"{_SERVER}: the request is not supported, or did not reach the matching engine (-1013)",
        ("-1013", "-1014", "-1016", "-1020"),
    ),
    Refusals(
        Reaction.REJECT,
        _REQUEST,
        codes(
            "-1100 -1101 -1102 -1103 -1104 -1105 -1106 -1108 -1111 -1112 -1114 -1115 -1116 -1117 -1118 -1119 -1120 -1122 "
            "-1125 -1127 -1128 -1130 -1131 -1134 -1135 -1139 -1145 -1151 -1152 -1153 -1155 -1158 -1160 -1161 -1165 -1166 "
            "-1168 -1182 -1194 -1196 -1197 -1198 -1199 -1210 -1211 -1220 -1222 -1223 -1224 -1225"
        ),
    ),
    Refusals(Reaction.NOT_LISTED, _REQUEST, ("-1121",)),
    # -2010 means NEW_ORDER_REJECTED and -2011 CANCEL_REJECTED, whatever the text is.
    Refusals(Reaction.REJECT, _ORDER, ("-2010", "-2011", "-2016", "-2026", "-2038", "-2039")),
    Refusals(Reaction.NOT_FOUND, _ORDER, ("-2013",)),
    Refusals(Reaction.CLOCK, _SERVER, ("-1021",)),
    Refusals(Reaction.SLOW_DOWN, _LIMITS, ("-1003", "-1015")),
    Refusals(Reaction.KEY, _SERVER, ("-1002", "-1022", "-1099")),
    Refusals(Reaction.KEY, _ORDER, ("-2008", "-2014", "-2015")),
    Refusals(Reaction.BUSY, f"{_SERVER}: overloaded", ("-1008",)),
    Refusals(
        Reaction.BUSY,
        f"{_SERVER}: execution status unknown, or nothing is said about the order",
        ("-1000", "-1001", "-1004", "-1006", "-1007"),
    ),
    Refusals(Reaction.LOOK_UP, f"{_MESSAGES}: the text decides", ("-1010",)),
    Refusals(Reaction.LOOK_UP, f"{_ORDER}: one of two requests failed", ("-2021", "-2022")),
)

# Texts of -1010, -2010 and -2011.
MESSAGES: Final = (
    Refusals(Reaction.NOT_ENOUGH_MONEY, _MESSAGES, ("Account has insufficient balance for requested action.",)),
    # An OPEN order has this id.
    Refusals(Reaction.LOOK_UP, _MESSAGES, ("Duplicate order sent.",)),
    Refusals(Reaction.NOT_FOUND, _MESSAGES, ("Unknown order sent.",)),
    Refusals(
        Reaction.KEY,
        f"{_MESSAGES}: trading is disabled for the account",
        (
            "Rest API trading is not enabled",
            "This account may not place or cancel orders",
            "This action is disabled on this account",
            "You don't have permission",
        ),
    ),
    Refusals(
        Reaction.REJECT,
        _MESSAGES,
        (
            "Cancel order is invalid. Check origClOrdId and orderId.",
            "Filter failure: ",
            "Iceberg orders are not supported for this symbol.",
            "IcebergQty exceeds QTY.",
            "Market is closed.",
            "Market orders are not supported for this symbol.",
            "OCO orders are not supported for this symbol",
            "OPO orders are not supported for this symbol",
            "Order amend is not supported for this symbol.",
            "Order book liquidity is less than ",
            "Order book liquidity is too low for this pegged order.",
            "Order cancel-replace is not supported for this symbol.",
            "Order was not canceled due to cancel restrictions.",
            "Order would immediately match and take.",
            "Order would trigger immediately.",
            "Pegged orders are not supported for this symbol.",
            "Price * QTY is zero or less.",
            "Quote order qty market orders are not support for this symbol.",
            "Stop loss limit orders are not supported for this symbol.",
            "Stop loss orders are not supported for this symbol.",
            "Take profit limit orders are not supported for this symbol.",
            "Take profit orders are not supported for this symbol.",
            "The relationship of the prices for the orders is not correct.",
            "The requested action would change no state; rejecting",
            "This order type may not use pegged price.",
            "This price peg cannot be used with this order type.",
            # These two refuse one symbol and not the account.
            "This symbol is not permitted for this account.",
            "This symbol is restricted for this account.",
            "Trailing stop orders are not supported for this symbol.",
            "Unsupported order combination",
        ),
    ),
)
MANY_MEANINGS: Final = ("-1010", "-2010", "-2011")

_REACTIONS: Final = reactions(REFUSALS)
_TO_MESSAGES: Final = reactions(MESSAGES)


def reaction_to(code: str, message: str) -> Reaction:
    """The reaction to an error. A code that is not listed is an unknown outcome."""
    to_message = longest_beginning(message, _TO_MESSAGES) if code in MANY_MEANINGS else None
    return to_message or _REACTIONS.get(code, Reaction.LOOK_UP)
