"""The script of the documentation that asks every question about capital works against a running system."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import requests

from tests.end_to_end.conftest import Running

SCRIPT = Path(__file__).parents[2] / "docs" / "capital-walk-through.sh"


@pytest.mark.long
def test_the_walk_through_gets_every_expected_answer(running: Running) -> None:
    """It asks each path below /api/capital, and the answers have the figures of the paper account."""
    found = re.search(r"the API is at (\S+);", (running.folder / "output").read_text())
    assert found is not None
    token = json.loads(running.command("tokens", "add", "walk", "--json").stdout)["token"]
    done = subprocess.run(
        [SCRIPT],
        env={"PATH": os.environ["PATH"], "URL": found[1], "TOKEN": token},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith("every answer was as expected\n")
    assert token not in done.stdout
    paths = requests.get(f"{found[1]}/api/openapi.json", timeout=20).json()["paths"]
    questions = [path.replace("{symbol}", "BTC") for path in paths if path.startswith("/api/capital/")]
    assert len(questions) > 10
    assert [path for path in questions if not re.search(rf"== (GET|POST) {path}[?\n]", done.stdout)] == []
    equity = json.loads(running.command("capital", "state", "--json").stdout)["total_equity"]
    shown = {float(text) for text in re.findall(r'"total_equity": ([\d.]+)', done.stdout)}
    # The price may have moved by a little in between.
    assert shown
    assert all(abs(each - equity) < equity / 100 for each in shown)


@pytest.mark.parametrize("variables", [{}, {"URL": "http://127.0.0.1:1"}, {"TOKEN": "nija_x_y"}])
def test_without_an_address_or_a_token_it_says_what_is_missing(variables: dict[str, str]) -> None:
    """Exit code 2 and one line."""
    done = subprocess.run(
        [SCRIPT], env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "set URL to the address of the API, and TOKEN to a token of it\n"


def test_without_an_answer_it_counts_what_is_missing() -> None:
    """Exit code 1. Each path that gave no answer is named."""
    variables = {"PATH": os.environ["PATH"], "URL": "http://127.0.0.1:1", "TOKEN": "nija_x_y"}
    done = subprocess.run([SCRIPT], env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    asked = done.stdout.count("== ")
    assert asked > 10
    assert done.stdout.count("!! no answer, and ") == asked
    assert done.stdout.endswith(f"{asked} answers were not as expected\n")
    assert "Failed to connect" in done.stderr
