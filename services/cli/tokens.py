"""`nija tokens`: the tokens that open the API."""

from collections.abc import Sequence
from typing import Annotated

import typer

from services.cli import output
from services.cli.actor import actor
from services.cli.arguments import reached_settings
from services.cli.followers.options import JsonOption, ReasonOption
from shared.actions.tokens import add_token, revoke_token
from shared.config.operator import open_actions, open_connections
from shared.domain.access import Role
from shared.queries.tokens import TokenRecord, read_tokens

app = typer.Typer(help="The tokens that open the API: add, list, revoke.", no_args_is_help=True)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The name of its owner, a person or a program.")],
    role: Annotated[
        Role,
        typer.Option(
            "--role", help="read: ask; operate: also pause, resume, reconcile; admin: also see and revoke tokens."
        ),
    ] = Role.READ,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it. It is printed this once: nija stores only a hash of it."""
    with open_actions(reached_settings()) as context:
        made = add_token(context, name, role, actor=actor(), reason=reason)
    text = made.text.get_secret_value()
    if as_json:
        output.print_json({**_document(made.record), "token": text})
    else:
        output.console.print(text, soft_wrap=True)


@app.command("list")
def list_tokens(
    revoked: Annotated[bool, typer.Option("--all", "-a", help="Also those that were revoked.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the tokens with their roles, without their secrets."""
    with open_connections(reached_settings()) as connections:
        found = read_tokens(connections, revoked=revoked)
    if as_json:
        output.print_json([_document(token) for token in found])
    elif found:
        _print(found, revoked=revoked)
    else:
        output.console.print("no tokens: `nija tokens add NAME --role read` makes one")


@app.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(help="The name or the id of the token.")], as_json: JsonOption = False
) -> None:
    """Let a token open nothing from the next request on."""
    with open_actions(reached_settings()) as context:
        record = revoke_token(context, token, actor=actor())
    if as_json:
        output.print_json(_document(record))
    else:
        output.console.print(f"token {record.name} ({record.token_id}) is revoked")


def _document(record: TokenRecord) -> dict[str, object]:
    return record.model_dump(mode="json")


def _print(found: Sequence[TokenRecord], *, revoked: bool) -> None:
    shown = output.table("tokens of the API")
    output.text_columns(shown, "name", "role", "id", output.when_heading(), "made by")
    if revoked:
        output.text_columns(shown, "revoked")
    for token in found:
        gone = output.moment(token.revoked_at) if token.revoked_at else "–"
        row = (token.name, token.role.value, token.token_id, output.moment(token.created_at), token.created_by)
        shown.add_row(*row, *([gone] if revoked else []))
    output.show(shown)
