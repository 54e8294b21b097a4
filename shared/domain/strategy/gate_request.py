"""Turns an entry of the strategy into the request that the capital gate answers."""

from shared.domain.capital.recommendation import EntryRequest
from shared.domain.strategy.decision import Enter


def request_of(entry: Enter) -> EntryRequest:
    """Return the request for an entry. Its size is the largest one that the gate may approve."""
    return EntryRequest(
        instrument=entry.inputs.account.instrument,
        signal_score=entry.gate.signal_score,
        expected_return_pct=entry.gate.expected_return_pct,
        regime=entry.gate.regime,
        largest_size=entry.size_usd,
    )
