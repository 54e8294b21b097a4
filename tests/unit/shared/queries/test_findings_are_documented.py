"""The table of findings in the documentation is complete."""

import re
from pathlib import Path

import pytest

from shared.messaging.alerts import AlertKind
from shared.queries.findings import FindingKind

OPERATIONS = Path(__file__).resolve().parents[4] / "docs" / "operations.md"


@pytest.mark.parametrize("kind", [*FindingKind, *AlertKind])
def test_every_kind_of_finding_is_in_the_table_of_the_documentation(kind: str) -> None:
    """With its meaning and what to do: a row whose first cell names it."""
    rows = [line for line in OPERATIONS.read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert kind in named


@pytest.mark.parametrize("kind", [FindingKind.NOT_FUNDED, FindingKind.CIRCUIT_OPEN, FindingKind.NOT_CONNECTED])
def test_a_finding_that_status_does_not_have_says_where_it_comes_from(kind: str) -> None:
    """An operator who watches only `nija status` would wait for it in vain."""
    [row] = [line for line in OPERATIONS.read_text().splitlines() if line.startswith("| `") and f"`{kind}`" in line]
    assert row.split("|")[2].strip().startswith("Only in `nija brokers`")
