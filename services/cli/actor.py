"""Who gives a command, as it is kept with what the command changed: the system's user in, `cli:<name>` out."""

import getpass


def actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        # A container's user may have no name.
        return "cli"
