"""Proves that each check can fail: it switches off one protection at a time and expects the matching violation."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from services.chaos.ground import started_through
from services.chaos.plan import Injection, Kind
from services.chaos.run import Chaos, ChaosPlan
from shared.brokers.registry import EXAMPLE_BROKER

ASLEEP = "no wake-up lost"
DOUBLED = "at most one broker order per fill and follower"
OWN_COINS = "own coins are never sold"
AS_THEY_ARE = "followers as they are: each copy is right"
FOLLOWERS, ORDERS = 8, 60
SETTLE_SECONDS = 45.0
PAUSES_SECONDS = 40.0


class Protection(NamedTuple):
    """One protection. `expected` is the invariant that must be reported as broken without it; "" means none."""

    name: str
    expected: str
    kinds: Sequence[Kind]
    least_seconds: float = 0.0
    """The shortest time that the trading lasts. It lets sleeping processes wake up."""
    undisturbed: bool = False
    """Nothing is broken or delayed, so the comparison of special followers is strict."""


TIMES = 8
"""How often each fault is made in a run. Most of them hit a request that is not an order."""
TRIES = 6
"""A fault must strike between two steps of an order. If a run misses that moment, another run is made."""

PROTECTIONS = (
    Protection("nothing", "", (Kind.REPLY_LOST, Kind.DOUBLE_FILL)),
    Protection("look-up", DOUBLED, (Kind.REPLY_LOST,)),
    Protection("deduplicated delivery", DOUBLED, (Kind.DOUBLE_FILL,)),
    Protection("atomic release", ASLEEP, ()),
    Protection("nothing, undisturbed", "", (), undisturbed=True),
    Protection("copied position", OWN_COINS, (), undisturbed=True),
    Protection("free cash", AS_THEY_ARE, (), undisturbed=True),
    Protection("nothing, with pauses", "", (), PAUSES_SECONDS),
    Protection("fence", DOUBLED, (), PAUSES_SECONDS),
    Protection("request expiry", DOUBLED, (), PAUSES_SECONDS),
)


async def run_self_test(seed: int, announce: Callable[[str], None]) -> dict[str, Any]:
    """Make a short run for each protection, on the example broker. `holds` means that the expected violation was
    reported.
    """
    rows = []
    for each in PROTECTIONS:
        announce(f"switched off: {each.name}")
        for number in range(TRIES if each.expected else 1):
            report = await Chaos(_plan(each, seed + number), announce).run()
            broken = {name for name, row in report["invariants"].items() if row["violations"]}
            holds = each.expected in broken if each.expected else not broken
            if holds:
                break
        rows.append(
            {
                "off": each.name,
                "expected": each.expected or "no violation",
                "violations": report["violations"],
                "broken": sorted(broken),
                "runs": number + 1,
                "holds": holds,
            }
        )
    return {"seed": seed, "protections": rows}


def _plan(protection: Protection, seed: int) -> ChaosPlan:
    injections = [Injection(kind, EXAMPLE_BROKER, 1.0, 0) for kind in protection.kinds for _ in range(TIMES)]
    return ChaosPlan(
        (EXAMPLE_BROKER,),
        FOLLOWERS,
        ORDERS,
        injections,
        seed,
        change=started_through("services.chaos.without", protection.name),
        settle_seconds=SETTLE_SECONDS,
        least_seconds=protection.least_seconds,
        undisturbed=protection.undisturbed,
    )
