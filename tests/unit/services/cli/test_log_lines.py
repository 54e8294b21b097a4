"""Tests that the log of a command goes to standard error, so that standard output holds the result alone."""

import subprocess
import sys

COMMAND = """
import json, sys, structlog
from services.cli import app

@app.app.command()
def talkative() -> None:
    structlog.get_logger().warning("the broker is slow", broker="kraken")
    print(json.dumps({"found": 1}))

sys.argv = ["nija", "talkative"]
app.program()
"""


def test_a_warning_does_not_spoil_the_document_of_a_command() -> None:
    """A library or a gateway that warns during a command with --json leaves standard output one JSON document."""
    done = subprocess.run([sys.executable, "-c", COMMAND], capture_output=True, text=True, check=True)
    assert done.stdout == '{"found": 1}\n'
    assert "the broker is slow" in done.stderr
