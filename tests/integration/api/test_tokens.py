"""Tokens open what their role includes, are stored as hashes only, and open nothing after they were revoked."""

import hmac
import json
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from typer.testing import CliRunner

from services.cli.tokens import app
from shared.actions.context import ActionContext
from shared.actions.errors import ActionRefused
from shared.actions.tokens import add_token, revoke_token
from shared.config import Settings
from shared.domain.access import ENVIRONMENT_TOKEN as ENVIRONMENT_ID
from shared.domain.access import Role
from shared.persistence.errors import TokenTaken, UnknownToken
from shared.queries.connections import Connections
from shared.queries.tokens import Principal, authenticate, read_tokens
from tests.support.api import ENVIRONMENT_TOKEN


def presented(connections: Connections, shown: str) -> Principal | None:
    return authenticate(connections, shown, SecretStr(ENVIRONMENT_TOKEN))


def test_a_token_opens_with_its_role_until_it_is_revoked(context: ActionContext, connections: Connections) -> None:
    """Revoking takes effect at the next request."""
    made = add_token(context, "grafana", Role.READ, actor="test:ann", reason="a dashboard")
    token = made.text.get_secret_value()
    found = presented(connections, token)
    assert found == Principal(made.record.token_id, "grafana", Role.READ)
    assert found.actor == "api:grafana"
    revoked = revoke_token(context, "grafana", actor="test:bob")
    assert (revoked.created_by, revoked.revoked_by, revoked.reason) == ("test:ann", "test:bob", "a dashboard")
    assert presented(connections, token) is None
    assert read_tokens(connections) == []
    assert [each.name for each in read_tokens(connections, revoked=True)] == ["grafana"]


def test_only_a_hash_of_a_token_is_stored(context: ActionContext, connections: Connections) -> None:
    """The secret is in no column of any row."""
    made = add_token(context, "bot", Role.OPERATE, actor="test:ann")
    secret = made.text.get_secret_value().rpartition("_")[2]
    with connections.engine.begin() as connection:
        stored = connection.scalar(text("SELECT string_agg(t::text, ' ') FROM api_tokens t"))
    assert made.record.token_id in str(stored)
    assert secret not in str(stored)
    assert secret not in repr(made)


def test_a_wrong_token_opens_nothing(context: ActionContext, connections: Connections) -> None:
    """Another secret, another id, another form, and texts that are no token."""
    token = add_token(context, "bot", Role.ADMIN, actor="test:ann").text.get_secret_value()
    head, _, secret = token.rpartition("_")
    other = secret.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    wrong = [
        f"{head}_{other}",
        f"nija_{'0' * 12}_{secret}",
        token.upper(),
        f"{token} ",
        token[:-1],
        "",
        "é\ud800",
        "\0",
    ]
    assert [each for each in wrong if presented(connections, each) is not None] == []


def test_digests_are_compared_in_constant_time_also_for_an_unknown_id(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a refusal does not show whether there is a token of that id."""
    compared: list[tuple[str, str]] = []
    compare_digest = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert authenticate(connections, f"nija_{'0' * 12}_{'0' * 64}", None) is None
    assert [len(other) for _, other in compared] == [64]


def test_the_token_of_the_environment_is_an_admin_and_needs_no_row(connections: Connections) -> None:
    """It opens the API before the first token is made."""
    assert presented(connections, ENVIRONMENT_TOKEN) == Principal(ENVIRONMENT_ID, "environment", Role.ADMIN)
    assert authenticate(connections, ENVIRONMENT_TOKEN, None) is None


def test_two_tokens_in_use_never_share_a_name(context: ActionContext) -> None:
    """The name is the actor in the records of changes. A revoked token frees its name."""
    add_token(context, "bot", Role.READ, actor="test:ann")
    with pytest.raises(TokenTaken, match="'bot'"):
        add_token(context, "bot", Role.READ, actor="test:ann")
    revoke_token(context, "bot", actor="test:ann")
    second = add_token(context, "bot", Role.READ, actor="test:ann")
    assert revoke_token(context, second.record.token_id, actor="test:ann").token_id == second.record.token_id


@pytest.mark.parametrize("name", ["", "Bot", "a b", "-a", "a" * 41, "environment", "0123456789ab", "a\0"])
def test_a_name_that_could_be_misunderstood_is_refused(context: ActionContext, name: str) -> None:
    """Among them the word that names the token of the environment, and a text that looks like an id."""
    with pytest.raises(ActionRefused, match="the name of a token should be"):
        add_token(context, name, Role.READ, actor="test:ann")


@pytest.mark.parametrize("name", ["nobody", "0" * 12, "\0", "\ud800"])
def test_an_unknown_token_cannot_be_revoked(context: ActionContext, name: str) -> None:
    """Neither can a text that PostgreSQL cannot store."""
    with pytest.raises(UnknownToken):
        revoke_token(context, name, actor="test:ann")


def test_each_role_includes_those_before_it() -> None:
    """read < operate < admin."""
    included = {role: {other for other in Role if role.includes(other)} for role in Role}
    assert included == {
        Role.READ: {Role.READ},
        Role.OPERATE: {Role.READ, Role.OPERATE},
        Role.ADMIN: {Role.READ, Role.OPERATE, Role.ADMIN},
    }


def test_the_command_line_shows_a_token_once(
    settings: Settings, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`add` prints it, `list` has everything but the secret, and after `revoke` it opens nothing."""
    monkeypatch.setattr("services.cli.tokens.reached_settings", lambda: settings)

    def nija(*arguments: str) -> Any:
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    made = nija("add", "grafana", "--role", "operate")
    token = made.pop("token")
    assert presented(connections, token) == Principal(made["token_id"], "grafana", Role.OPERATE)
    assert nija("list") == [made]
    assert nija("revoke", "grafana")["revoked_by"].startswith("cli")
    assert (presented(connections, token), nija("list")) == (None, [])
