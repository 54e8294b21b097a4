"""Compares two ways of doing the same work in alternating rounds, so that noise of the machine affects both."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

Round = Callable[[], Awaitable[float]]
"""Does the work once and returns the rate in units a second."""
Announce = Callable[[str], None]
"""Shows one line about the progress to the operator."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rates of all rounds, in units a second."""

    ours: list[float]
    baseline: list[float]

    @property
    def ratio(self) -> float:
        """The median rate of nija divided by the median rate of the baseline."""
        return median(self.ours) / median(self.baseline)

    def as_json(self, ours_name: str, baseline_name: str) -> dict[str, object]:
        return {
            "ratio": round(self.ratio, 2),
            ours_name: round(median(self.ours), 1),
            baseline_name: round(median(self.baseline), 1),
            "rounds": len(self.ours),
            f"{ours_name}_all": [round(rate, 1) for rate in self.ours],
            f"{baseline_name}_all": [round(rate, 1) for rate in self.baseline],
        }


async def compare(ours: Round, baseline: Round, rounds: int, announce: Announce) -> Comparison:
    """Run `ours` and `baseline` in turns, after one warm-up round of each that is not counted."""
    await ours()
    await baseline()
    our_rates, baseline_rates = [], []
    for number in range(1, rounds + 1):
        our_rates.append(await ours())
        baseline_rates.append(await baseline())
        announce(
            f"round {number} of {rounds}: {our_rates[-1]:,.0f} a second, baseline {baseline_rates[-1]:,.0f} a second"
        )
    return Comparison(our_rates, baseline_rates)
