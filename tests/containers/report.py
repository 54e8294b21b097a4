"""Collects the results of the container tests, one row for each check, prints them and writes them as JSON."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

WIDTH = 80


@dataclass
class Row:
    """One check. `recovery` is the time until everything was copied again after a fault, in seconds."""

    check: str
    seconds: float = 0.0
    recovery: float | None = None
    note: str = ""
    passed: bool = False


@dataclass
class Results:
    """All checks of a run, in their order."""

    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def check(self, name: str) -> Iterator[Row]:
        """Time what is done in the block; the check has failed when the block raises."""
        row = Row(name)
        self.rows.append(row)
        began_at = time.monotonic()
        try:
            yield row
            row.passed = True
        finally:
            row.seconds = round(time.monotonic() - began_at, 1)

    def write(self, path: Path) -> None:
        """Write all rows as JSON."""
        document = {"passed": all(row.passed for row in self.rows), "checks": [asdict(row) for row in self.rows]}
        path.write_text(json.dumps(document, indent=1) + "\n")

    def print(self, seconds: float) -> None:
        """Print the table, at most 80 columns wide."""
        table = Table(title="containers", title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("check", overflow="fold")
        table.add_column("result")
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("recovery", justify="right", no_wrap=True)
        table.add_column("what was seen", overflow="fold")
        for row in self.rows:
            recovery = "" if row.recovery is None else f"{row.recovery:.1f} s"
            table.add_row(row.check, "ok" if row.passed else "FAILED", f"{row.seconds:.0f} s", recovery, row.note)
        passed = sum(row.passed for row in self.rows)
        table.caption = f"{passed} of {len(self.rows)} checks passed in {seconds:.0f} s"
        Console(width=WIDTH, highlight=False, markup=False).print(table)
