"""Counts what the strategy did at one broker in the demo, and compares its decisions with those of the backtest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from services.backtest.against_live import LiveComparison, SameCount
from shared.domain.amounts import ZERO, plain
from shared.domain.capital.facts import ClosedTrade
from shared.domain.strategy.decision import Enter, Exit, ExitReason, StrategyDecision, from_values
from shared.persistence.stored_traders import StoredDecision


class StrategyFigures(NamedTuple):
    """What the trader of one broker did."""

    expected: int
    """How many candles it should have decided on."""
    candles: int
    """How many it decided on."""
    entries: int
    """Entries that were bought."""
    rejected: Mapping[str, int]
    """Entries that were not bought, by what the capital gate or the execution said."""
    exits: Mapping[ExitReason, int]
    """Sales, by reason."""
    closed: int
    """Positions that were closed."""
    profit: Decimal
    """What the closed positions have brought, in US dollars, after fees."""
    left: int
    """Positions that were open at the end."""
    restarts: int
    """How often a process was restarted. A cycle that was cut short or failed is not made up for."""
    compared: LiveComparison

    @property
    def is_sound(self) -> bool:
        """Whether no candle was left out without a reason, and the backtest decides alike."""
        is_whole = self.candles == self.expected or (self.restarts > 0 and self.candles < self.expected)
        return is_whole and self.compared.all_equal

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        compared = self.compared
        return {
            "candles_expected": self.expected,
            "candles_decided": self.candles,
            "entries": self.entries,
            "rejected": dict(self.rejected),
            "exits": {reason.value: count for reason, count in self.exits.items()},
            "closed_positions": self.closed,
            "profit_usd": plain(self.profit),
            "open_positions": self.left,
            "process_restarts": self.restarts,
            "same_from_record": _as_json(compared.records),
            "same_from_window": _as_json(compared.windows),
            "same_filters_and_score": _as_json(compared.signals),
            "differences": list(compared.differences),
        }


def _as_json(found: SameCount) -> dict[str, int]:
    return {"compared": found.compared, "equal": found.equal}


def strategy_figures(
    stored: Sequence[StoredDecision],
    trades: Sequence[ClosedTrade],
    *,
    left: int,
    expected: int,
    compared: LiveComparison,
    restarts: int = 0,
) -> StrategyFigures:
    """Count the decisions of one trader. `left`: positions that are open."""
    decisions = [(each, from_values(each.decision)) for each in stored]
    entries = [each for each, decision in decisions if isinstance(decision, Enter)]
    bought = [each for each in entries if (each.outcome or "").startswith("bought")]
    exits = Counter(
        decision.reason
        for each, decision in decisions
        if isinstance(decision, Exit) and (each.outcome or "").startswith("sold")
    )
    return StrategyFigures(
        expected=expected,
        candles=len({decision.inputs.last_candle for _, decision in decisions} - {None}),
        entries=len(bought),
        rejected=Counter(_why_not(each) for each in entries if each not in bought),
        exits={reason: exits[reason] for reason in ExitReason if exits[reason]},
        closed=len(trades),
        profit=sum((trade.profit for trade in trades), ZERO),
        left=left,
        restarts=restarts,
        compared=compared,
    )


def decisions_of(stored: Sequence[StoredDecision]) -> list[StrategyDecision]:
    """Return the decisions as the strategy made them."""
    return [from_values(each.decision) for each in stored]


def _why_not(entry: StoredDecision) -> str:
    """Return why an entry was not bought: the code of the gate, or what the execution said."""
    outcome = entry.outcome or "no outcome"
    codes = (entry.gate or {}).get("reason_codes")
    return ", ".join(codes) if codes and outcome.startswith("not entered") else outcome
