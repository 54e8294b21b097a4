"""Answers questions about the capital of a master account, as `nija capital` does. Nothing is ordered."""

from collections.abc import Callable
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from services.api.auth import Reader
from services.api.capital_requests import (
    Account,
    AccountOfBroker,
    BrokerOfAccount,
    EntryBody,
    ParityBody,
    RegimeInQuery,
    ReturnInQuery,
    ScoreInQuery,
    SignalBody,
    SymbolInPath,
    SymbolInQuery,
    WinRateInQuery,
    account_of,
    exact,
)
from services.api.numbers import number_answer, numeric, of_account
from services.api.problems import NOT_KNOWN, PROBLEMS, STOPPED, RequestRefused, problems
from services.api.system import ApiSystem, System
from shared.domain.capital.history import MOST_HOURS, CapitalHistory
from shared.domain.capital.recommendation import ReasonCode, Recommendation
from shared.domain.capital.state import CapitalState
from shared.queries.capital import overview, sizing
from shared.queries.capital.models import (
    BucketAllocation,
    CompleteAnalysis,
    DrawdownStatus,
    EntryQuestion,
    KellyAnswer,
    MarginCondition,
    RiskParity,
    ScalingStatus,
    SymbolLeverage,
)
from shared.queries.capital.recommendation import DEFAULT_SYMBOL, read_complete_analysis, read_recommendation
from shared.queries.capital.sources import AccountName, CapitalSources

router = APIRouter(prefix="/api/capital", tags=["capital"])

_PROBLEMS = {**PROBLEMS, **problems(404)}


async def _overview(
    system: ApiSystem, name: AccountName, question: Callable[[CapitalSources, AccountName], BaseModel]
) -> Response:
    """The answer to a question that needs no market data."""
    return number_answer(await run_sync(question, system.capital, name), name)


@router.get("/state", response_model=of_account(CapitalState), responses=_PROBLEMS, operation_id="capital_state")
async def state(system: System, account: Account) -> Response:
    """Show balances, margin, buying power and status, in US dollars."""
    return await _overview(system, account, overview.read_state)


@router.get("/history", response_model=of_account(CapitalHistory), responses=_PROBLEMS, operation_id="capital_history")
async def history(
    system: System,
    account: Account,
    hours: Annotated[int, Query(ge=1, le=MOST_HOURS, description="How far back.")] = 24,
) -> Response:
    """Show how the equity has developed. Snapshots are stored every 30 s; at most 500 points are shown."""
    return await _overview(system, account, lambda sources, name: overview.read_history(sources, name, hours))


@router.get("/margin/status", response_model=of_account(MarginCondition), responses=_PROBLEMS, operation_id="margin")
async def margin(system: System, account: Account) -> Response:
    """Show the margin zone, and what nija sold last because of it. A spot account is always GREEN."""
    return await _overview(system, account, overview.read_margin)


@router.get("/strategy/scaling", response_model=of_account(ScalingStatus), responses=_PROBLEMS, operation_id="scaling")
async def scaling(system: System, account: Account) -> Response:
    """Show what an account of this size may do."""
    return await _overview(system, account, overview.read_scaling)


@router.get("/drawdown/status", response_model=of_account(DrawdownStatus), responses=_PROBLEMS, operation_id="drawdown")
async def drawdown(system: System, account: Account) -> Response:
    """Show how far the equity is below its peak, and whether the circuit breaker is open."""
    return await _overview(system, account, overview.read_drawdown)


@router.get(
    "/allocation/multi-tier", response_model=of_account(BucketAllocation), responses=_PROBLEMS, operation_id="buckets"
)
async def buckets(system: System, account: Account) -> Response:
    """Show the buckets against their targets, with the orders that would restore them. nija does not send these."""
    return await _overview(system, account, overview.read_allocation)


@router.get(
    "/leverage/optimal/{symbol}",
    response_model=of_account(SymbolLeverage),
    responses=_PROBLEMS,
    operation_id="leverage",
)
async def leverage(
    system: System,
    account: Account,
    symbol: SymbolInPath,
    win_rate: WinRateInQuery = None,
    market_regime: RegimeInQuery = None,
) -> Response:
    """Show the optimal leverage of a symbol, with every factor. A spot account has an effective leverage of 1.

    Without market data it is 3 with a low confidence, and `missing` says what is missing.
    """
    rate = None if win_rate is None else exact(win_rate)
    found = await sizing.read_leverage(system.capital, account, symbol, win_rate=rate, regime=market_regime)
    return number_answer(found, account)


@router.post(
    "/position-size/kelly", response_model=of_account(KellyAnswer), responses=_PROBLEMS, operation_id="kelly_size"
)
async def kelly(system: System, account: Account, asked: SignalBody) -> Response:
    """Show the size of a trade by half of Kelly's formula, with every factor. Without market data it is a 503."""
    found = await sizing.read_kelly(
        system.capital, account, asked.symbol, odds=asked.odds(), regime=asked.market_regime
    )
    if found.missing is not None:
        raise _no_market_data(account, found.missing)
    return number_answer(found, account)


@router.post(
    "/allocation/risk-parity", response_model=numeric(RiskParity), responses=_PROBLEMS, operation_id="risk_parity"
)
async def risk_parity(
    system: System, reader: Reader, asked: ParityBody, broker: BrokerOfAccount = None, account: AccountOfBroker = None
) -> Response:
    """Divide capital so that each symbol carries the same risk: shares are proportional to 1 / volatility.

    A symbol without enough candles has no share, and is in `missing`. If none has enough, it is a 503.
    """
    given = asked.given()
    if given:
        return number_answer(sizing.parity_of_volatilities(given))
    name = await account_of(system, reader, broker, account)
    found = await sizing.read_risk_parity(system.capital, name, asked.symbols)
    if not found.shares:
        raise _no_market_data(name, "no candles of these symbols")
    return number_answer(found)


@router.post(
    "/recommendation/position",
    response_model=of_account(Recommendation),
    responses={**_PROBLEMS, **problems(409)},
    operation_id="recommendation",
)
async def recommendation(system: System, account: Account, asked: EntryBody) -> Response:
    """Ask the gate whether an entry may be placed, and how large it may be, with each step to that size.

    Missing market data and an account that cannot be valued are a REJECT with the reason. While trading is stopped at
    the broker, it is a 409.
    """
    found = await read_recommendation(system.capital, account, asked.question())
    if ReasonCode.STOPPED in found.reason_codes:
        raise RequestRefused(STOPPED, f"{found.reason} POST /api/resume ends a stop; GET /api/status lists the stops.")
    return number_answer(found, account)


@router.get(
    "/analysis/complete", response_model=numeric(CompleteAnalysis), responses=_PROBLEMS, operation_id="analysis"
)
async def analysis(
    system: System,
    account: Account,
    symbol: SymbolInQuery = DEFAULT_SYMBOL,
    signal_score: ScoreInQuery = None,
    expected_return_pct: ReturnInQuery = 0,
    market_regime: RegimeInQuery = None,
) -> Response:
    """Show all parts in one answer. With a score, also what to do with the signal, a stop of trading included."""
    question = None
    if signal_score is not None:
        question = EntryQuestion(
            symbol=symbol,
            signal_score=exact(signal_score),
            expected_return_pct=exact(expected_return_pct),
            regime=market_regime,
        )
    return number_answer(await read_complete_analysis(system.capital, account, symbol, question))


def _no_market_data(name: AccountName, missing: str) -> RequestRefused:
    return RequestRefused(NOT_KNOWN, f"{name.broker.value} shows {missing}; ask again")
