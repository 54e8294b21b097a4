"""Tests the last screen of the demo: it fits 80 columns, and shows which copy is wrong for which follower."""

import io
from collections import Counter
from decimal import Decimal

import pytest
from rich.console import Console

from services.demo.as_they_are import IN_DEMO
from services.demo.audit import AuditReport
from services.demo.figures import AsTheyAre, Figures, result_as_json
from services.demo.right_copies import SpecialResult
from services.demo.view import final_screen
from shared.domain.identity import Broker
from shared.persistence.reports.reports import StageLatency

LATENCY = {"total": StageLatency(count=1, p50=344.0, p99=586.0)}
SOUND = AuditReport(
    planned=800,
    copied=770,
    skipped=30,
    failed=0,
    pending=0,
    missing=0,
    duplicates=0,
    cut=3,
    mismatched=0,
    max_position_error_lots=Decimal("0.999"),
    open_positions=0,
)


def found(*, wrong: str = "", coins_sold: str = "", audited: AuditReport = SOUND) -> Figures:
    """A broker at which 15 fills are right, or one copy of the first special follower is not."""
    results = {each.name: SpecialResult(15, Counter(copied=15)) for each in IN_DEMO}
    if wrong:
        results[IN_DEMO[0].name] = SpecialResult(14, Counter(copied=14, paused=1), [wrong])
    return Figures(
        followers=50,
        fills=[],
        audited=SOUND,
        skip_reasons={"below_minimum": 30},
        latency_ms=LATENCY,
        coins_sold={"own-coins": coins_sold} if coins_sold else {},
        as_they_are=AsTheyAre(IN_DEMO, results, audited, 1),
    )


def screen(figures: dict[Broker, Figures]) -> str:
    """The last screen on a terminal of 80 columns."""
    console = Console(width=80, file=io.StringIO(), highlight=False)
    console.print(final_screen(figures, LATENCY))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_five_brokers_fit_on_80_columns() -> None:
    """Each special follower has one line with what is right for it, and no number is cut."""
    lines = screen({broker: found() for broker in Broker}).splitlines()
    assert max(map(len, lines)) <= 80
    for special in IN_DEMO:
        (line,) = [each for each in lines if special.name in each.split()]
        assert special.right in line
        assert line.count("15/15") == len(Broker)
    assert "Every fill reached every follower once." in lines


@pytest.mark.parametrize("finding", ["wrong", "coins_sold"])
def test_a_finding_is_shown_and_makes_the_demo_unsound(finding: str) -> None:
    """On the screen with the broker, and in the JSON object with the follower."""
    what = "own-coins fill 3 (buy): paused; right: copied"
    figures = {Broker.KRAKEN: found(), Broker.OKX: found(**{finding: what})}
    assert (figures[Broker.KRAKEN].is_sound, figures[Broker.OKX].is_sound) == (True, False)
    text = screen(figures)
    assert "The comparison found differences." in text
    assert f"okx: {what}" in text or f"okx: own-coins: own coins: {what}" in text
    as_json = result_as_json(figures, LATENCY)
    assert as_json["as_they_are_wrong"] == (finding == "wrong")
    assert as_json["own_coins_touched"] == (finding == "coins_sold")
    assert as_json["brokers"]["okx"]["as_they_are"]["followers"]["own-coins"]["came"]["copied"] >= 14


@pytest.mark.parametrize("count", ["missing", "duplicates", "mismatched", "pending"])
def test_what_plain_followers_must_not_have_special_ones_must_not_have(count: str) -> None:
    """A copy of a special follower that is missing, doubled or pending makes the demo unsound."""
    assert not found(audited=SOUND._replace(**{count: 1})).is_sound
