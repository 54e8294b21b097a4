"""Can each check fail? One protection is switched off at a time; the run must then report the right violation."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from services.chaos.ground import started_through
from services.chaos.plan import Injection, Kind
from services.chaos.run import Chaos, ChaosPlan
from shared.brokers.registry import EXAMPLE_BROKER

ASLEEP = "no wake-up lost"
DOUBLED = "at most one broker order per fill and follower"
FOLLOWERS, ORDERS = 8, 60
SETTLE_SECONDS = 45.0
PAUSES_SECONDS = 40.0


class Protection(NamedTuple):
    """One protection. `expected`: the invariant that must be reported broken without it; "": none."""

    name: str
    expected: str
    kinds: Sequence[Kind]
    least_seconds: float = 0.0
    """How long the trading lasts at least: until who sleeps has woken up."""


TIMES = 8
"""How often each fault is made in a run: most of them hit a request that is no order."""
TRIES = 6
"""A fault has to strike between two steps of an order: where a run was lucky, another is made."""

PROTECTIONS = (
    Protection("nothing", "", (Kind.REPLY_LOST, Kind.DOUBLE_FILL)),
    Protection("look-up", DOUBLED, (Kind.REPLY_LOST,)),
    Protection("deduplicated delivery", DOUBLED, (Kind.DOUBLE_FILL,)),
    Protection("atomic release", ASLEEP, ()),
    Protection("nothing, with pauses", "", (), PAUSES_SECONDS),
    Protection("fence", DOUBLED, (), PAUSES_SECONDS),
    Protection("request expiry", DOUBLED, (), PAUSES_SECONDS),
)


async def run_self_test(seed: int, announce: Callable[[str], None]) -> dict[str, Any]:
    """A short run for each protection, on the paper Kraken; `holds`: what was expected was reported."""
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
    )
