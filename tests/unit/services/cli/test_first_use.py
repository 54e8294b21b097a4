"""Tests that `nija` lists its commands without importing them, and that the list says what each command says itself."""

import subprocess
import sys

import pytest

from services.cli.app import COMMANDS
from services.cli.first_use import CommandOnFirstUse

SHOW_HELP = """
import sys
from services.cli.app import app
try:
    app(["--help"])
finally:
    print(sorted(name for name in sys.modules if name.startswith("services.cli.") or name == "sqlalchemy"))
"""


@pytest.mark.parametrize("listed", COMMANDS, ids=lambda each: str(each.name))
def test_the_list_shows_the_first_paragraph_of_a_commands_own_help(listed: CommandOnFirstUse) -> None:
    """`nija --help` takes the text from a table, and `nija COMMAND --help` from the command: they are the same."""
    itself = listed.imported()
    first = (itself.help or "").split("\n\n", maxsplit=1)[0]
    assert (itself.name, listed.help) == (listed.name, " ".join(first.split()))


def test_the_help_imports_no_command() -> None:
    """It needs neither the modules of the commands nor the database library, which take most of the time."""
    done = subprocess.run([sys.executable, "-c", SHOW_HELP], capture_output=True, text=True, check=True)
    assert "positions" in done.stdout
    assert done.stdout.splitlines()[-1] == str(["services.cli.app", "services.cli.first_use", "services.cli.output"])
