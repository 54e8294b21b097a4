"""The Redis commands that nija needs are the documented ones, and all that its scripts use is among them."""

import re
from pathlib import Path

from shared.messaging.connection.commands import CHANNEL_PATTERNS, KEY_PATTERNS, NEEDED_COMMANDS

ROOT = Path(__file__).parents[4]
CALL = re.compile(r"redis\.p?call\(\s*'([A-Za-z]+)'(?:,\s*'([A-Z]+)')?")
WITH_SUBCOMMANDS = {"client", "script", "xgroup", "xinfo"}


def test_the_documentation_lists_exactly_these_rules() -> None:
    """An operator copies them into an ACL."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    block = text.partition("(`ACL SETUSER`, on one line):\n\n")[2].partition("\n\n")[0]
    keys, channels = (f"~{each}" for each in KEY_PATTERNS), (f"&{each}" for each in CHANNEL_PATTERNS)
    assert block.split() == [*keys, *channels, "-@all", *(f"+{each}" for each in NEEDED_COMMANDS)]


def test_every_command_of_every_script_is_needed() -> None:
    """A script runs with the rights of the user that calls it."""
    scripts = [*(ROOT / "shared").rglob("*.lua"), *(ROOT / "services").rglob("*.lua")]
    assert len(scripts) > 15
    used = set()
    for script in scripts:
        for command, argument in CALL.findall(script.read_text()):
            name = command.lower()
            used.add(f"{name}|{argument.lower()}" if name in WITH_SUBCOMMANDS else name)
    assert {"hset", "xadd", "zadd"} <= used
    assert used <= set(NEEDED_COMMANDS)
