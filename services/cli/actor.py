"""Names the person who gives a command, for the record of what the command changes."""

import getpass


def actor() -> str:
    """Return `cli:` and the name of the system's user."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        # The user of a container may have no name.
        return "cli"
