"""`nija paper-accounts`: makes accounts at running paper brokers and writes them into an environment file.

Containers use it: the file is on a volume that the other services share, and NIJA_ENV_FILE names it. The first run
makes its content, and later runs keep it: accounts, the key that encrypts followers' keys, the password for Flower.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from cryptography.fernet import Fernet

from services.cli import output
from services.local_system.embedded import kept, private_folder, write_private
from services.local_system.paper_accounts import paper_variables
from shared.config import ConfigurationError, load_settings, parse_broker
from shared.domain.identity import Broker

ENVIRONMENT_FILE = "paper.env"


def paper_accounts(
    folder: Annotated[Path, typer.Argument(help="Where the environment file and the keys are kept.")],
    broker: Annotated[
        list[str] | None,
        typer.Option("--broker", help="This broker; may be given several times. Default: NIJA_BROKERS."),
    ] = None,
) -> None:
    """Make a master and a few followers at the paper brokers that `{BROKER}_BASE_URL` name, and write FOLDER/paper.env.

    Run again, it changes nothing that is there, and adds what a further broker needs.
    """
    settings = load_settings()
    brokers = [parse_broker(name, "--broker") for name in broker or ()] or list(settings.brokers)
    if not brokers:
        raise ConfigurationError("NIJA_BROKERS is missing: set it to the paper brokers that run, such as kraken,okx")
    urls: dict[Broker, str] = {}
    for each in brokers:
        url = settings.base_url(each)
        if url is None:
            raise ConfigurationError(f"{each.name}_BASE_URL is missing: set it to the paper broker's address")
        urls[each] = url
    private_folder(folder)
    variables = {
        "NIJA_SECRET_KEY": kept(folder / "secret.key", lambda: Fernet.generate_key().decode()),
        "NIJA_FLOWER_BASIC_AUTH": kept(folder / "flower-password", lambda: f"paper:{secrets.token_urlsafe(18)}"),
    }
    for each, url in urls.items():
        variables |= paper_variables(each, url, folder / f"{each.value}-keys.json")
    _write(folder / ENVIRONMENT_FILE, variables)
    names = ", ".join(each.value for each in brokers)
    output.console.print(f"paper accounts for {names} are in {folder / ENVIRONMENT_FILE}")


def _write(path: Path, variables: Mapping[str, str]) -> None:
    lines = [f"{name}='{_quoted(value)}'\n" for name, value in variables.items()]
    # A rename puts the file in place at once, so a service that starts meanwhile never reads half of it.
    fresh = path.with_suffix(".new")
    write_private(fresh, "".join(lines))
    fresh.replace(path)


def _quoted(value: str) -> str:
    r"""Escape a value for single quotes in an environment file. Line ends (in PEM keys) become \n."""
    return value.replace("\n", "\\n").replace("\\", "\\\\").replace("'", "\\'")
