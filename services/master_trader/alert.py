"""Reports what is wrong with a master's account without stopping its watch, and clears what is over."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from shared.domain.accounts.master_value import unpriced_text
from shared.messaging.alerts import AlertKind, Alerts

LARGE_OFFSET_SECONDS: Final = 1.0
"""From this difference on, the clocks are a finding. Requests have the right time anyway."""
CLOCK: Final = "clock"
"""What the finding concerns."""


async def alert_unpriced(alerts: Alerts, unpriced: Collection[str], setting: str, until: datetime) -> None:
    """Report the assets that keep the equity unknown. `setting` names their values. Raises RedisError."""
    for asset in sorted(unpriced):
        await alerts.sound(AlertKind.UNPRICED_ASSET, asset, unpriced_text(asset, setting), until=until)
    await alerts.clear_all_but(AlertKind.UNPRICED_ASSET, set(unpriced))


async def alert_clock(alerts: Alerts, offset_seconds: float, until: datetime) -> None:
    """Report a large difference of the clocks. Raises RedisError.

    `offset_seconds`: the broker's clock less the clock of this machine.
    """
    if abs(offset_seconds) < LARGE_OFFSET_SECONDS:
        await alerts.clear(AlertKind.CLOCK, CLOCK)
        return
    text = (
        f"the clock of this machine is {abs(offset_seconds):.1f} s {'behind' if offset_seconds > 0 else 'ahead of'} "
        f"the broker's: synchronize it, for example with NTP"
    )
    await alerts.sound(AlertKind.CLOCK, CLOCK, text, until=until)
