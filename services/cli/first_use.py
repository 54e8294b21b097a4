"""Lists the commands of `nija` without importing them. The module of a command is imported when the command runs.

All modules together take longer to import than most commands take to run.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


class CommandOnFirstUse(TyperCommand):
    """A command or a group of commands in the list of `nija --help`.

    `place` is `module:function`, or `module:app` for a group. `summary` is the first paragraph of its help.
    """

    def __init__(self, name: str, panel: str, place: str, summary: str) -> None:
        super().__init__(name, help=summary, rich_help_panel=panel)
        self._place = place

    def imported(self) -> TyperCommand | TyperGroup:
        """Import the module, and return the command itself."""
        module, _, attribute = self._place.partition(":")
        found = getattr(import_module(module), attribute)
        parent = typer.Typer(rich_markup_mode="markdown")
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=self.name)
        else:
            parent.command(self.name)(found)
        [command] = get_group(parent).commands.values()
        return cast(TyperCommand | TyperGroup, command)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments as the command itself does. Its own help and its completion come this way too."""
        return self.imported().make_context(info_name, args, parent, **extra)


def group_of(commands: Iterable[CommandOnFirstUse]) -> type[TyperGroup]:
    """The class of a group that has these commands in addition to those that are registered as usual."""
    ours = {command.name or "": command for command in commands}

    class Group(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = {**ours, **self.commands}

    return Group
