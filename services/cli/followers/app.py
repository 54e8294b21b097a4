"""Registers the commands of `nija followers`; each is a function of its own in this folder."""

import typer

from services.cli.followers.add import add, import_file, replace_key
from services.cli.followers.change import pause, remove, resume
from services.cli.followers.register import register_followers
from services.cli.followers.show import list_followers, show

app = typer.Typer(help="The accounts that copy: add, import, show, pause, resume, remove.", no_args_is_help=True)
app.command("add")(add)
app.command("import")(import_file)
app.command("list")(list_followers)
app.command("show")(show)
app.command("pause")(pause)
app.command("resume")(resume)
app.command("replace-key")(replace_key)
app.command("remove")(remove)
app.command("register")(register_followers)
