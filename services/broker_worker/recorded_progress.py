"""Keeps the record of an order that a worker carries out equal to what Redis has."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime

import structlog

from services.broker_worker.order_record import RecordFacts, changed_record
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.copying.order_state import Accepted, CopyOrderState, Unknown
from shared.domain.events import OrderState
from shared.domain.instrument import Instrument
from shared.messaging.mailboxes import Claim, Mailboxes, Submission

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class RecordedProgress(ABC):
    """What copies and orders of the strategy have in common while a worker holds the claim."""

    claim: Claim
    claimed_at: datetime
    submission: Submission | None
    """Always the submission that Redis has."""
    instrument: Instrument
    mailboxes: Mailboxes
    limits: OpenLimits
    accepted_at: datetime | None = None

    async def record(self, state: CopyOrderState) -> None:
        """Record that the order has reached this state, if that is not recorded yet. Raises ClaimLost."""
        facts = self._facts()
        match state:
            case Unknown(is_noted=True, why=why) | Accepted(lost=str(why)):
                log.warning(
                    "outcome unknown", copy_order=facts.copy_order_id, follower=self.claim.follower_id, error=why
                )
        if isinstance(state, Accepted):
            self.accepted_at = state.accepted_at
        record = changed_record(state, self.submission, facts)
        if record is None:
            return
        event = b"" if record.state is None else self._event(record.state, record.submission, record.message)
        await self.mailboxes.record(self.claim, self.submission, record.submission, event)
        self.submission = record.submission

    @abstractmethod
    def _facts(self) -> RecordFacts:
        """What a record needs of the order."""

    @abstractmethod
    def _event(self, state: OrderState, submission: Submission, message: str) -> bytes:
        """The event that reports a state that is not final, as JSON."""
