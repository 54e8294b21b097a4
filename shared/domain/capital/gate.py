"""Decides whether an entry may be placed, and how large it may be.

The checks run in the order of `STEPS`, and the first one that rejects ends the run. Missing market data and an account
without balance are rejections too, never exceptions.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from shared.domain.amounts import ONE, ZERO
from shared.domain.capital.arithmetic import HUNDRED, cut_cents, cut_percent, fixed_precision
from shared.domain.capital.buckets import bucket_of, room_above_reserve, room_for_entry
from shared.domain.capital.drawdown import LIMITS, leverage_under, positions_under
from shared.domain.capital.execution import execution_plan, limit_price, method_for
from shared.domain.capital.facts import ACCOUNT_MAX_AGE, ClosedTrade
from shared.domain.capital.kelly import (
    RECORD_LASTS,
    counts_until,
    heat_factor,
    heat_of,
    kelly_size,
    odds_of,
    recent_trades,
)
from shared.domain.capital.leverage import optimal_leverage
from shared.domain.capital.liquidity import hit_levels, liquidity_check
from shared.domain.capital.margin import margin_status
from shared.domain.capital.opportunity import OpportunityAction, opportunity
from shared.domain.capital.recommendation import (
    Adjustment,
    AdjustmentName,
    Approved,
    Entry,
    GateInputs,
    ReasonCode,
    Recommendation,
    Verdict,
    approve,
)
from shared.domain.capital.scaling import class_of, is_allowed, margin_for, rules_for
from shared.domain.capital.worksheet import Rejection, Worksheet
from shared.domain.fill import Side

GateStep = Callable[[Worksheet], Rejection | None]


def check_stop(sheet: Worksheet) -> Rejection | None:
    """Reject while an operator has stopped trading or the drawdown breaker is open."""
    stop, drawdown = sheet.inputs.stop, sheet.inputs.drawdown
    if stop is not None:
        return Rejection(ReasonCode.STOPPED, f"Trading is stopped ({stop.value}).")
    if drawdown.breaker_until is not None and drawdown.is_breaker_open(sheet.now):
        until = f"{drawdown.breaker_until:%Y-%m-%d %H:%M} UTC"
        return Rejection(ReasonCode.DRAWDOWN_BREAKER, f"The drawdown breaker forbids entries until {until}.")
    return None


def check_account(sheet: Worksheet) -> Rejection | None:
    """Reject for an account without balance or with an old reading, and reject a short position."""
    account = sheet.inputs.account
    if account.equity <= 0 or (account.margin is not None and account.margin.wallet <= 0):
        return Rejection(ReasonCode.NO_BALANCE, "The account has no balance.")
    if account.is_stale(sheet.now):
        hours = ACCOUNT_MAX_AGE.total_seconds() / 3600
        return Rejection(ReasonCode.ACCOUNT_DATA_OLD, f"The account was last read more than {hours:.0f} h ago.")
    if sheet.inputs.request.side is Side.SELL:
        if account.margin is None:
            return Rejection(ReasonCode.NO_MARGIN_ACCOUNT, "A spot account cannot open a short position.")
        return Rejection(ReasonCode.SHORT_NOT_EXECUTED, "This entry is a short position, and nija opens none.")
    return None


def check_margin(sheet: Worksheet) -> Rejection | None:
    """Reject outside the GREEN zone."""
    status = margin_status(sheet.inputs.account)
    if status.can_open_new:
        return None
    used = cut_percent(status.margin_used_pct).normalize()
    return Rejection(ReasonCode.MARGIN_ZONE, f"The account is in the {status.zone.value}: {used:f} % margin is used.")


def check_positions(sheet: Worksheet) -> Rejection | None:
    """Reject an asset that the class may not hold. At the limit of positions, the opportunity step decides."""
    instrument, equity = sheet.inputs.request.instrument, sheet.inputs.account.equity
    if not is_allowed(instrument, equity, sheet.inputs.stocks):
        name = class_of(equity).value
        return Rejection(ReasonCode.ASSET_NOT_ALLOWED, f"A {name} account may not open positions in {instrument.base}.")
    most = positions_under(sheet.inputs.drawdown.state, sheet.rules)
    sheet.is_at_limit = len(sheet.inputs.account.own_positions) >= most
    return None


def set_leverage(sheet: Worksheet) -> Rejection | None:
    """Compute the leverage. Reject when market data are missing, because size and fees need them too."""
    inputs = sheet.inputs
    missing = "no market data for the symbol" if inputs.market is None else inputs.market.missing(sheet.now)
    if missing is not None:
        return Rejection(ReasonCode.MARKET_DATA_MISSING, f"Market data are missing: there is {missing}.")
    odds = odds_of(recent_trades(inputs.trades, sheet.now), inputs.request.odds)
    margin = inputs.account.margin
    most = ONE if margin is None else margin.most_leverage
    leverage = optimal_leverage(
        inputs.request.instrument.base,
        inputs.account.equity,
        inputs.market,
        most_of_account=most,
        win_rate=odds.win_rate,
        regime=inputs.request.regime,
    )
    sheet.odds = odds
    sheet.optimal_leverage = leverage.optimal
    sheet.effective_leverage = leverage_under(inputs.drawdown.state, leverage.optimal, sheet.rules, most)
    return None


def set_size(sheet: Worksheet) -> Rejection | None:
    """Compute the size: half-Kelly, the class's risk, the wanted size, heat and drawdown. Reject without an edge."""
    inputs = sheet.inputs
    recent = recent_trades(inputs.trades, sheet.now)
    odds = sheet.odds or odds_of(recent, inputs.request.odds)
    equity = inputs.account.equity
    kelly = kelly_size(equity, odds, inputs.request.regime)
    sheet.adjust(AdjustmentName.HALF_KELLY, kelly.half_kelly_pct / HUNDRED)
    if kelly.half_kelly_pct <= 0:
        return Rejection(ReasonCode.NO_EDGE, _no_edge(recent))
    sheet.adjust(AdjustmentName.CAPITAL, kelly.capital_factor)
    sheet.adjust(AdjustmentName.REGIME, kelly.regime_factor)
    before, sheet.size = sheet.size, equity * kelly.clamped_pct / HUNDRED
    sheet.adjustments.append(
        Adjustment(name=AdjustmentName.KELLY_BAND, factor=sheet.size / before, size=cut_cents(sheet.size))
    )
    sheet.cap(AdjustmentName.CLASS_RISK, kelly.size)
    if inputs.request.largest_size is not None:
        sheet.cap(AdjustmentName.WANTED_SIZE, inputs.request.largest_size)
    sheet.adjust(AdjustmentName.HEAT, heat_factor(heat_of(inputs.account)))
    sheet.adjust(AdjustmentName.DRAWDOWN, LIMITS[inputs.drawdown.state].size)
    return None


def _no_edge(recent: Sequence[ClosedTrade]) -> str:
    until = counts_until(recent)
    if until is None:
        return "Win rate and ratio give no edge, so the size is 0."
    return (
        f"The newest {len(recent)} trades of the last {RECORD_LASTS.days} days give no edge, so the size is 0; "
        f"they count until {until:%Y-%m-%d %H:%M} UTC."
    )


def cap_to_buckets(sheet: Worksheet) -> Rejection | None:
    """Lower the size to the room in the asset's bucket and above the RESERVE. Reject without room."""
    account, asset = sheet.inputs.account, sheet.inputs.request.instrument.base
    room = room_for_entry(account, asset)
    if room <= 0:
        return Rejection(ReasonCode.BUCKET_FULL, f"The bucket {bucket_of(asset).value} has reached its target.")
    sheet.cap(AdjustmentName.BUCKET, room)
    free = room_above_reserve(account, sheet.effective_leverage)
    if free <= 0:
        return Rejection(ReasonCode.RESERVE, "The free cash is needed for the RESERVE.")
    sheet.cap(AdjustmentName.RESERVE, free)
    return None


def cap_to_liquidity(sheet: Worksheet) -> Rejection | None:
    """Lower the size to what the order book takes with an impact of at most 0.2 %."""
    levels = hit_levels(sheet.book, sheet.inputs.request.side)
    if cut_cents(sheet.size) <= 0:
        return Rejection(ReasonCode.BELOW_MINIMUM, "The size is below one cent.")
    check = liquidity_check(levels, sheet.size / levels[0].price)
    sheet.adjust(AdjustmentName.IMPACT, check.factor)
    sheet.adjust(AdjustmentName.IMPACT_CUT, check.cut_factor)
    sheet.liquidity = check
    return None


def compare_opportunity(sheet: Worksheet) -> Rejection | None:
    """Reject HOLD and SKIP, and an additional position at the limit."""
    inputs = sheet.inputs
    found = opportunity(
        inputs.request.signal_score,
        inputs.account.own_positions,
        inputs.account.margin_free_pct,
        correlation=inputs.correlation,
        has_made_room=inputs.request.has_made_room,
    )
    sheet.opportunity = found
    score = f"{found.score.normalize():f}"
    if found.action is OpportunityAction.HOLD:
        return Rejection(ReasonCode.HOLD, f"Hold: the score {score} is not good enough for a new position.")
    if found.action is OpportunityAction.SKIP:
        return Rejection(ReasonCode.SKIP, "Skip: less than 20 % of the margin or cash is free.")
    if found.action is OpportunityAction.ENTER_NEW and sheet.is_at_limit:
        return Rejection(
            ReasonCode.POSITION_LIMIT, "The limit of positions is reached, and none is worse by 10 points."
        )
    return None


def check_fees(sheet: Worksheet) -> Rejection | None:
    """Reject an expected return that does not beat the cost of trading."""
    inputs = sheet.inputs
    needed = inputs.fees.smallest_worthwhile_profit * HUNDRED
    rule = inputs.small_account
    if rule is not None and inputs.account.equity < rule.below_equity:
        needed = max(needed, rule.least_return_pct)
    expected = inputs.request.expected_return_pct
    if expected > needed:
        return None
    return Rejection(
        ReasonCode.RETURN_BELOW_COST,
        f"The expected return of {expected.normalize():f} % does not beat the {needed.normalize():f} % that it needs.",
    )


def check_minimum(sheet: Worksheet) -> Rejection | None:
    """Reject an order that the broker would refuse as too small."""
    instrument = sheet.inputs.request.instrument
    if instrument.is_orderable(_quantity(sheet), hit_levels(sheet.book, sheet.inputs.request.side)[0].price):
        return None
    size = cut_cents(sheet.size)
    return Rejection(ReasonCode.BELOW_MINIMUM, f"The size of {size:f} USD is below the broker's minimum.")


STEPS: Final[tuple[GateStep, ...]] = (
    check_stop,
    check_account,
    check_margin,
    check_positions,
    set_leverage,
    set_size,
    cap_to_buckets,
    cap_to_liquidity,
    compare_opportunity,
    check_fees,
    check_minimum,
)


@fixed_precision
def recommend(inputs: GateInputs, now: datetime) -> Recommendation:
    """Return whether and how to enter. The recommendation holds an `Approved[Entry]` only if it may be placed now."""
    equity = inputs.account.equity
    sheet = Worksheet(inputs=inputs, now=now, rules=rules_for(equity), size=max(ZERO, equity))
    for step in STEPS:
        rejection = step(sheet)
        if rejection is not None:
            return _answer(sheet, Verdict.REJECT, rejection.reason, (rejection.code,))
    return _entering(sheet)


def unknown_account(reason: str) -> Recommendation:
    """Return the rejection for an account whose present state is not known. `reason`: one sentence."""
    return Recommendation(
        recommendation=Verdict.REJECT,
        reason=reason,
        reason_codes=(ReasonCode.ACCOUNT_DATA_OLD,),
        position_size_usd=ZERO,
        quantity=ZERO,
        margin_required=ZERO,
        risk_pct=ZERO,
    )


def _entering(sheet: Worksheet) -> Recommendation:
    entry = _entry(sheet)
    found, liquidity = sheet.opportunity, sheet.liquidity
    codes = []
    reason = f"Enter with {entry.size:f} USD."
    verdict = Verdict.ENTER
    if liquidity is not None and liquidity.is_caution:
        verdict = Verdict.CAUTION
        codes.append(ReasonCode.HIGH_IMPACT)
        impact = cut_percent(liquidity.impact_pct).normalize()
        reason = f"Enter with {entry.size:f} USD only, because more would move the price by {impact:f} %."
    approved: Approved[Entry] | None = None
    if found is not None and found.action is OpportunityAction.ENTER_AND_CLOSE_WORST:
        codes.append(ReasonCode.CLOSE_WORST_FIRST)
        reason = f"Close {found.worst} first, then ask again."
    else:
        approved = approve(entry)
    return _answer(sheet, verdict, reason, tuple(codes), entry=entry, approved=approved)


def _answer(
    sheet: Worksheet,
    verdict: Verdict,
    reason: str,
    codes: tuple[ReasonCode, ...],
    *,
    entry: Entry | None = None,
    approved: Approved[Entry] | None = None,
) -> Recommendation:
    found = sheet.opportunity
    closes = entry is not None and approved is None
    lowering = [each.name for each in sheet.adjustments if each.factor < 1]
    return Recommendation(
        recommendation=verdict,
        reason=reason,
        reason_codes=codes,
        action=None if found is None else found.action,
        optimal_leverage=sheet.optimal_leverage,
        effective_leverage=None if sheet.optimal_leverage is None else sheet.effective_leverage,
        position_size_usd=ZERO if entry is None else entry.size,
        quantity=ZERO if entry is None else entry.quantity,
        margin_required=ZERO if entry is None else entry.margin,
        risk_pct=ZERO if entry is None else cut_percent(entry.size / sheet.inputs.account.equity * HUNDRED),
        execution_method=None if entry is None else entry.plan.method,
        adjustments=tuple(sheet.adjustments),
        decided_by=lowering[-1] if lowering else None,
        odds=sheet.odds,
        close_first=found.worst if closes and found is not None else None,
        approved=approved,
    )


def _entry(sheet: Worksheet) -> Entry:
    request, size, quantity = sheet.inputs.request, cut_cents(sheet.size), _quantity(sheet)
    method = method_for(
        class_of(sheet.inputs.account.equity), is_sliced=sheet.liquidity is not None and sheet.liquidity.is_sliced
    )
    return Entry(
        instrument=request.instrument,
        side=request.side,
        quantity=quantity,
        size=size,
        leverage=sheet.effective_leverage,
        margin=margin_for(size, sheet.effective_leverage),
        plan=execution_plan(method, request.instrument, request.side, quantity, sheet.book, sheet.now),
    )


def _quantity(sheet: Worksheet) -> Decimal:
    """The quantity that costs no more than the size at the highest price that the execution may pay."""
    request = sheet.inputs.request
    best = hit_levels(sheet.book, request.side)[0].price
    price = max(best, limit_price(request.instrument, request.side, sheet.book))
    return request.instrument.rounded(cut_cents(sheet.size) / price)
