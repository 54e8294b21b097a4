"""Lists OKX's error codes, each with the reaction to it.

Codes of services that nija does not call are left out: bots (513xx), amendments (515xx), statements (516xx), buying with
a card (518xx), funding (58xxx), earning (59xxx) and the WebSocket (6xxxx).
"""

from typing import Final

from shared.brokers.refusals import Reaction, Refusals, codes, reactions

_GENERAL: Final = "www.okx.com/docs-v5, REST API error codes, General class"
_API: Final = "www.okx.com/docs-v5, REST API error codes, API class"
_TRADE: Final = "www.okx.com/docs-v5, REST API error codes, Trade class"
_EITHER_WAY: Final = '"does not mean that the request was successful or failed"'

REFUSALS: Final = (
    Refusals(
        Reaction.REJECT,
        f"{_GENERAL}: the request is malformed or not possible now",
        # 50017 to 50023: a position, a currency or the derivatives of the account are frozen during a liquidation.
        # 50046, 50062, 50064: the feature is unavailable.
        codes(
            "50000 50002 50006 50010 50014 50015 50016 50017 50018 50020 50021 50023 50024 50025 50028 50038 50039 50044 "
            "50045 50046 50047 50048 50049 50050 50053 50055 50056 50057 50058 50062 50063 50064 50067 50069 50072 50076 "
            "50077 50115 50116 50122"
        ),
    ),
    Refusals(
        Reaction.REJECT,
        f"{_GENERAL}: refuses one currency, instrument or product, and not the account",
        ("50032", "50033", "50051", "50052", "50075"),
    ),
    Refusals(
        Reaction.REJECT,
        f"{_TRADE}: the order is refused",
        codes(
            "51000 51002 51003 51004 51005 51006 51007 51014 51017 51018 51019 51020 51021 51022 51023 51025 51026 51027 "
            "51028 51029 51030 51031 51032 51033 51034 51035 51036 51037 51038 51039 51040 51041 51042 51043 51044 51046 "
            "51047 51048 51049 51050 51051 51052 51053 51055 51056 51057 51058 51059 51066 51069 51070 51071 51072 51073 "
            "51074 51075 51076 51077 51078 51079 51080 51081 51082 51083 51084 51085 51086 51087 51088 51089 51090 51091 "
            "51092 51093 51094 51095 51096 51098 51099 51100 51101 51102 51103 51104 51105 51106 51107 51108 51109 51110 "
            "51111 51112 51115 51116 51117 51118 51120 51121 51122 51123 51124 51125 51126 51128 51129 51130 51132 51133 "
            "51134 51135 51136 51137 51138 51139 51140 51142 51143 51144 51147 51148 51150 51152 51153 51154 51155 51156 "
            "51158 51159 51162 51163 51164 51165 51166 51167 51168 51169 51170 51171 51173 51174 51175 51176 51177 51178 "
            "51179 51180 51181 51182 51185 51186 51187 51192 51193 51194 51195 51196 51197 51201 51202 51203 51204 51205 "
            "51206 51207 51209 51210 51211 51212 51213 51214 51250 51251 51252 51253 51254 51255 51256 51257 51258 51259 "
            "51260 51261 51262 51263 51264 51265 51267 51268 51269 51270 51271 51272 51273 51274 51275 51276 51277 51278 "
            "51279 51280 51281 51298 51299 51507"
        ),
    ),
    Refusals(
        Reaction.REJECT,
        f"{_TRADE}: the order is refused (pre-market, collateral, price protection)",
        codes(
            "54000 54001 54004 54005 54006 54007 54008 54009 54011 54012 54018 54019 54024 54025 54026 54027 54028 54030 "
            "54031 54035 54036 54039 54040 54041 54042 54043 54044 54045 54046 54049 54070 54072 54073 54075"
        ),
    ),
    Refusals(
        Reaction.REJECT,
        f"{_TRADE}: the order cannot be canceled",
        codes("51403 51404 51406 51407 51408 51409 51410 51411 51413 51416"),
    ),
    Refusals(
        Reaction.NOT_FOUND,
        f"{_TRADE}: filled, canceled, or never there",
        ("51063", "51400", "51401", "51402", "51405", "51603"),
    ),
    Refusals(Reaction.NOT_LISTED, _TRADE, ("51001", "51012", "51015")),
    Refusals(Reaction.NOT_ENOUGH_MONEY, _TRADE, ("51008", "51119", "51127", "51131")),
    # An order of this id exists already, or this request was sent before.
    Refusals(Reaction.LOOK_UP, f"{_TRADE}: the id exists", ("51011", "51016", "51065", "51068")),
    Refusals(Reaction.LOOK_UP, f"{_GENERAL}: repeated request, or the id exists", ("50042", "50071")),
    # 51149 is believed to mean "too late" once the order's time is over: see `OkxClient`.
    Refusals(Reaction.BUSY, f"{_TRADE}: HTTP 500, {_EITHER_WAY}", ("51054", "51149", "51412")),
    # 1 and 2 say that orders in the reply failed; each order has a code of its own.
    Refusals(Reaction.LOOK_UP, f"{_GENERAL}: nothing is said about the order", ("1", "2")),
    Refusals(Reaction.BUSY, _GENERAL, ("50001", "50005", "50013", "50026")),
    Refusals(Reaction.BUSY, f"{_GENERAL}: {_EITHER_WAY}", ("50004",)),
    Refusals(
        Reaction.SLOW_DOWN,
        "www.okx.com/docs-v5, Rate Limits: a request is rejected with 50011, an order of an account with 50061",
        ("50011", "50061"),
    ),
    Refusals(Reaction.SLOW_DOWN, f"{_GENERAL} and Trade class: requests too frequent", ("50040", "51113")),
    Refusals(
        Reaction.EXPIRED,
        f"{_GENERAL}, and recorded for a POST with an expTime in the past: HTTP 200, no order",
        ("50036", "50037"),
    ),
    Refusals(Reaction.CLOCK, _API, ("50102", "50112")),
    Refusals(
        Reaction.KEY,
        f"{_GENERAL}: the account is blocked, frozen, restricted or has to be verified",
        codes("50007 50008 50009 50012 50019 50022 50027 50029 50030 50035 50041 50059 50060"),
    ),
    Refusals(
        Reaction.KEY,
        f"{_API}: the key, its signature, its address or its permissions",
        codes("50100 50101 50103 50104 50105 50106 50107 50108 50109 50110 50111 50113 50114 50118 50119 50120 50121"),
    ),
    Refusals(Reaction.KEY, f"{_TRADE}: the account is blocked, or its mode forbids this", ("51009", "51010", "51024")),
)

_REACTIONS: Final = reactions(REFUSALS)

# 51024 has some thirty texts. Most block the account. These refuse one product, or new positions only.
_BLOCKED: Final = "51024"
_ONE_PRODUCT: Final = (
    "this product isn",
    "convert is now unavailable",
    "fiat trading rules",
    "withdrawal function",
    "transfer function",
    "aren't allowed to open new positions",
)


def reaction_to(code: str, text: str) -> Reaction:
    """The reaction to an error. A code that is not listed is an unknown outcome. `51008_1000` is 51008 in detail."""
    code, _, _ = code.partition("_")
    if code == _BLOCKED and any(words in text.lower().replace("’", "'") for words in _ONE_PRODUCT):
        return Reaction.REJECT
    return _REACTIONS.get(code, Reaction.LOOK_UP)
