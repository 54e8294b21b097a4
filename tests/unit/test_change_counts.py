"""The files that CONTRIBUTING.md names for a change are those that a change of the kind has touched."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
MIGRATIONS = "migrations/versions/"
OTHER_USES = {
    "shared/domain/instrument.py": "an argument has the same name",
    "services/cli/followers/output.py": "a docstring has it as an example",
}


def listed_files(heading: str) -> list[str]:
    """The files in the numbered lists of a section."""
    section = (TOP / "CONTRIBUTING.md").read_text().partition(f"### {heading}\n")[2].partition("\n### ")[0]
    return re.findall(r"^\d+\. `([^`]+)`", section, flags=re.MULTILINE)


def files_that_name(field: str) -> set[str]:
    """The modules of the product that name a field; all migrations count as one."""
    found = set()
    for root in ("shared", "services", "migrations"):
        for source in (TOP / root).rglob("*.py"):
            if re.search(rf"\b{field}\b", source.read_text()):
                place = str(source.relative_to(TOP))
                found.add(MIGRATIONS if place.startswith(MIGRATIONS) else place)
    return found - OTHER_USES.keys()


@pytest.mark.parametrize(
    ("heading", "field", "count"),
    [
        ("A new sizing mode", "(minimum_notional|policy_minimum)", 9 + 3),
        ("A new field of a decision", "snapshot_at", 7),
    ],
)
def test_the_steps_of_a_change_are_the_files_that_name_such_a_field(heading: str, field: str, count: int) -> None:
    """A field that is already there shows which files a new one of its kind needs."""
    listed = listed_files(heading)
    assert set(listed) == files_that_name(field)
    assert len(listed) == len(set(listed)) == count
