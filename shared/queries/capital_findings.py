"""Reads what the capital monitor stored of each account, and decides what of it `nija status` finds."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine

from shared.domain.amounts import Instant, plain, round_down
from shared.domain.capital.margin import MarginAction, MarginZone
from shared.domain.identity import Broker
from shared.persistence.capital import CapitalStore
from shared.queries.findings import Finding, FindingKind

ZONE_SHOWN_FOR: Final = timedelta(hours=1)
"""An older sample says nothing of the present zone. That no process samples the account is another finding."""
ACTION_SHOWN_FOR: Final = timedelta(hours=1)
"""So long after its begin, an automatic action is a finding. `nija status` and `nija capital margin` show it longer."""
_SERIOUS: Final = frozenset({MarginZone.ORANGE, MarginZone.RED})
_PLACES: Final = Decimal("0.01")


class CapitalFacts(BaseModel):
    """The last sample of one account, and what was done automatically."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    account: str
    sampled_at: Instant
    zone: MarginZone | None
    """None: there is no snapshot."""
    margin_used_pct: Decimal
    drawdown_pct: Decimal
    breaker_until: Instant | None
    """The drawdown breaker forbids entries before this moment; None: it has never tripped."""
    last_action: MarginAction | None


def read_capital_facts(engine: Engine, enabled: Collection[Broker]) -> tuple[CapitalFacts, ...]:
    """Return the accounts of the enabled brokers that were sampled; if none is enabled, all. Raises DatabaseUnavailable."""
    return tuple(
        CapitalFacts(
            broker=each.broker,
            account=each.master_account,
            sampled_at=each.record.sampled_at,
            zone=None if each.snapshot is None else each.snapshot.zone,
            margin_used_pct=Decimal(0) if each.snapshot is None else each.snapshot.margin_used_pct,
            drawdown_pct=each.record.drawdown.drawdown_pct,
            breaker_until=each.record.drawdown.breaker_until,
            last_action=each.record.margin_action.last,
        )
        for each in CapitalStore(engine).all()
        if not enabled or each.broker in enabled
    )


def capital_findings(capital: Sequence[CapitalFacts], now: datetime) -> Iterator[Finding]:
    """The margin zones ORANGE and RED, open drawdown breakers, and what was sold automatically."""
    for each in capital:
        if each.zone in _SERIOUS and now - each.sampled_at <= ZONE_SHOWN_FOR:
            does = "30 % of each position is sold" if each.zone is MarginZone.ORANGE else "the worst position is closed"
            message = (
                f"the account {each.account} is in the {each.zone.value}: {shown_percent(each.margin_used_pct)} of the "
                f"margin is used. Nothing is opened, and {does}, as far as the strategy opened it "
                "(`nija capital margin`)"
            )
            yield _finding(FindingKind.MARGIN_ZONE, each, message)
        if each.breaker_until is not None and now < each.breaker_until:
            message = (
                f"the drawdown breaker of the account {each.account} forbids entries until "
                f"{each.breaker_until:%Y-%m-%d %H:%M} UTC: the equity is {shown_percent(each.drawdown_pct)} below its "
                "peak (`nija capital drawdown`)"
            )
            yield _finding(FindingKind.BREAKER_OPEN, each, message)
        last = each.last_action
        if last is not None and (not last.is_final or now - last.started_at <= ACTION_SHOWN_FOR):
            message = f"the margin of the account {each.account} made nija act: {action_text(last)}"
            yield _finding(FindingKind.MARGIN_ACTION, each, message)


def action_text(action: MarginAction) -> str:
    """An automatic action as a line for people."""
    orders = ", ".join(action.orders)
    state = "all orders have ended" if action.is_final else "its orders have not ended"
    return f"{action.kind.value} at {action.started_at:%Y-%m-%d %H:%M:%S} UTC: {orders}; {state}"


def shown_percent(value: Decimal) -> str:
    """A percentage with two places, cut."""
    return f"{plain(round_down(value, _PLACES))} %"


def _finding(kind: FindingKind, facts: CapitalFacts, message: str) -> Finding:
    return Finding(kind=kind, broker=facts.broker, subject=facts.account, message=message)
