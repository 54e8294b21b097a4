"""Defines what a client sends with questions about capital, and chooses the account that they are about."""

from decimal import Decimal
from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import Depends, Path, Query
from pydantic import ConfigDict, Field

from services.api.auth import Reader
from services.api.parameters import SYMBOL_FORM, Body
from services.api.problems import not_valid
from services.api.system import System
from shared.domain.capital.facts import RequestedOdds
from shared.domain.capital.regime import MarketRegime
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.queries.capital.accounts import choose_account
from shared.queries.capital.errors import AccountNotRead, NoSuchAccount
from shared.queries.capital.models import EntryQuestion
from shared.queries.capital.sources import AccountName

_SYMBOL: Final = f"^{SYMBOL_FORM}$"
_HOW: Final = "BTC, BTC-USD, BTC/USD or BTCUSDT; the pair that the broker lists against its cash."
_MOST_SYMBOLS: Final = 20
"""Each symbol costs a request to the broker."""
_LARGEST: Final = 1e9
_SMALLEST: Final = 1e-6

SymbolInPath = Annotated[
    str, Path(pattern=r"^[^\x00-\x20/]{1,40}$", description="BTC, BTC-USD or BTCUSDT.", examples=["BTC-USD"])
]
SymbolInQuery = Annotated[str, Query(pattern=_SYMBOL, description=_HOW, examples=["BTC-USD"])]
SymbolInBody = Annotated[str, Field(pattern=_SYMBOL, description=_HOW, examples=["BTC-USD"])]
BrokerOfAccount = Annotated[
    Broker | None, Query(description="The account's broker. Without it, the only or first funded master account.")
]
AccountOfBroker = Annotated[
    str | None, Query(pattern=r"^[^\x00]{1,64}$", description="The master account's name.", examples=["master"])
]
WinRateInQuery = Annotated[
    float | None, Query(ge=0, le=1, allow_inf_nan=False, description="Share of trades that win. Unknown: 1 × leverage.")
]
RegimeInQuery = Annotated[MarketRegime | None, Query(description="The market, as the strategy sees it.")]
ScoreInQuery = Annotated[
    float | None,
    Query(ge=0, le=100, allow_inf_nan=False, description="The score of a signal; then the gate is asked about it."),
]
ReturnInQuery = Annotated[
    float, Query(ge=-100, le=_LARGEST, allow_inf_nan=False, description="What the signal promises, in percent.")
]
_Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="Share of trades that win.")]
_Win = Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False, description="What a win brings on average.")]
_Loss = Annotated[
    float, Field(ge=_SMALLEST, le=_LARGEST, allow_inf_nan=False, description="What a loss costs on average.")
]


def _without_null(schema: dict[str, Any]) -> None:
    number, _null = schema.pop("anyOf")
    schema |= number
    del schema["default"]


_NEVER_NULL: Final = Field(json_schema_extra=_without_null)
"""A field that may be missing. The document names no null, because the averages belong together."""
_Volatility = Annotated[float, Field(ge=_SMALLEST, le=_LARGEST, allow_inf_nan=False)]


def exact(number: float) -> Decimal:
    """The decimal that the client has written, as long as it has at most 15 digits."""
    return Decimal(repr(number))


async def account_of(
    system: System, _: Reader, broker: BrokerOfAccount = None, account: AccountOfBroker = None
) -> AccountName:
    """The account that a question is about. Raises NoSuchAccount, AccountNotRead, RedisError."""
    try:
        return await run_sync(choose_account, system.capital.connections, broker, account)
    except AccountNotRead:
        if broker is not None and system.enabled and broker not in system.enabled:
            raise NoSuchAccount(f"{broker.value} is not in use") from None
        raise


Account = Annotated[AccountName, Depends(account_of)]


class SignalBody(Body):
    """What is known of a signal. Without odds, 0.50 and a ratio of 1.5 count; the answer says which were used."""

    model_config = ConfigDict(
        json_schema_extra={"dependentRequired": {"avg_win": ["avg_loss"], "avg_loss": ["avg_win"]}}
    )

    symbol: SymbolInBody
    win_rate: _Rate | None = None
    avg_win: Annotated[_Win | None, _NEVER_NULL] = None
    avg_loss: Annotated[_Loss | None, _NEVER_NULL] = None
    market_regime: MarketRegime | None = None

    def odds(self) -> RequestedOdds:
        """The odds. Raises RequestRefused for one average without the other."""
        if (self.avg_win is None) != (self.avg_loss is None):
            missing = "avg_loss" if self.avg_loss is None else "avg_win"
            raise not_valid(f"body.{missing}", "is missing: an average win and an average loss belong together")
        return RequestedOdds(
            win_rate=None if self.win_rate is None else exact(self.win_rate),
            average_win=None if self.avg_win is None else exact(self.avg_win),
            average_loss=None if self.avg_loss is None else exact(self.avg_loss),
        )


class EntryBody(SignalBody):
    """An entry that the gate is asked about. Nothing is ordered."""

    side: Annotated[Side, Field(description="The gate rejects `sell`, because nija opens no short positions.")] = (
        Side.BUY
    )
    signal_score: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
    expected_return_pct: Annotated[float, Field(ge=-100, le=_LARGEST, allow_inf_nan=False)]

    def question(self) -> EntryQuestion:
        """The question to the gate. Raises RequestRefused."""
        return EntryQuestion(
            symbol=self.symbol,
            side=self.side,
            signal_score=exact(self.signal_score),
            expected_return_pct=exact(self.expected_return_pct),
            regime=self.market_regime,
            odds=self.odds(),
        )


class ParityBody(Body):
    """Symbols, whose volatility is read from 100 candles of five minutes, or volatilities that are given."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    symbols: Annotated[tuple[SymbolInBody, ...], Field(min_length=1, max_length=_MOST_SYMBOLS)] = ()
    volatilities: Annotated[
        dict[SymbolInBody, _Volatility],
        Field(
            default_factory=dict,
            min_length=1,
            max_length=_MOST_SYMBOLS,
            examples=[{"BTC": 2.5}],
            # pydantic describes the form of the names, and not that other names are refused.
            json_schema_extra={"additionalProperties": False},
        ),
    ]

    def given(self) -> dict[str, Decimal]:
        """The volatilities that are given; empty: none. Raises RequestRefused for both or neither."""
        if bool(self.symbols) == bool(self.volatilities):
            raise not_valid("body", "give either symbols or volatilities")
        return {symbol: exact(volatility) for symbol, volatility in self.volatilities.items()}
