"""Tests that `nija check settings` names what is missing for containers in one line, and prints nothing else."""

import pytest
from cryptography.fernet import Fernet

from services.cli.check.settings import check_settings
from shared.config import ConfigurationError

NEEDED = ["REDIS_PASSWORD", "POSTGRES_PASSWORD", "NIJA_SECRET_KEY", "NIJA_FLOWER_BASIC_AUTH"]
VARIABLES = {
    "NIJA_ENV_FILE": "",
    "NIJA_CONFIG_FILE": "",
    "REDIS_PASSWORD": "redispassword",
    "POSTGRES_PASSWORD": "postgrespassword",
    "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
    "NIJA_FLOWER_BASIC_AUTH": "operator:a-long-password",
    "KRAKEN_MASTER_API_KEY": "a-key",
    "KRAKEN_MASTER_API_SECRET": "YS1zZWNyZXQ=",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a container to which nothing is missing; nothing of this machine's."""
    monkeypatch.setattr("os.environ", dict(VARIABLES))
    return monkeypatch


def test_complete_settings_are_good(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The brokers are those with a key, unless a list names them."""
    check_settings(NEEDED)
    assert capsys.readouterr().out == "the settings are complete for kraken\n"


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("name", NEEDED)
def test_a_variable_that_is_missing_or_empty_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    """The line says where it is to be set."""
    variables = {**VARIABLES, name: value}
    environment.setattr("os.environ", {key: text for key, text in variables.items() if text is not None})
    with pytest.raises(ConfigurationError, match=rf"^{name} is missing: set it in .env$"):
        check_settings(NEEDED)


def test_a_password_that_would_break_its_url_is_refused_and_not_shown(environment: pytest.MonkeyPatch) -> None:
    """`/` and `@` have a meaning in redis://:password@host."""
    environment.setattr("os.environ", {**VARIABLES, "REDIS_PASSWORD": "p@ss/word"})
    with pytest.raises(ConfigurationError, match="^REDIS_PASSWORD should be letters and digits") as refused:
        check_settings(NEEDED)
    assert "p@ss" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "url"), [("REDIS_URL", "redis://:hidden@a/0"), ("DATABASE_URL", "postgresql://n:hidden@a/n")]
)
def test_a_url_that_compose_would_override_is_refused(environment: pytest.MonkeyPatch, name: str, url: str) -> None:
    """The line names the file in which the URL has an effect, and not the URL. Empty means not set."""
    environment.setattr("os.environ", {**VARIABLES, name: url})
    with pytest.raises(
        ConfigurationError, match=rf"^{name} has no effect in \.env.* docker-compose\.override\.yml"
    ) as no:
        check_settings(NEEDED, ["REDIS_URL", "DATABASE_URL"])
    assert "hidden" not in str(no.value)
    environment.setattr("os.environ", {**VARIABLES, name: ""})
    check_settings(NEEDED, ["REDIS_URL", "DATABASE_URL"])


@pytest.mark.parametrize("variable", ["COMPOSE_PROFILES", "NIJA_BROKERS"])
def test_each_broker_that_is_to_run_needs_its_key(environment: pytest.MonkeyPatch, variable: str) -> None:
    """The first one without a key is named, with both of its variables."""
    environment.setattr("os.environ", {**VARIABLES, variable: "kraken,okx"})
    with pytest.raises(ConfigurationError, match=r"^OKX_API_KEY and OKX_API_SECRET are missing: .*\.env$"):
        check_settings(NEEDED)


def test_blanks_between_profiles_are_ignored(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compose ignores them too, and would start both brokers."""
    okx = {"OKX_API_KEY": "okx-key", "OKX_API_SECRET": "okx-secret", "OKX_PASSPHRASE": "Correct Horse 1!"}
    environment.setattr("os.environ", {**VARIABLES, **okx, "COMPOSE_PROFILES": "okx , kraken"})
    check_settings(NEEDED)
    assert capsys.readouterr().out == "the settings are complete for okx, kraken\n"


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"COMPOSE_PROFILES": "kraken,paper"}, r"^COMPOSE_PROFILES in \.env is for live brokers: remove paper"),
        ({"COMPOSE_PROFILES": "kraken,okxx"}, r"^COMPOSE_PROFILES: unknown broker 'okxx'"),
        (
            {"COMPOSE_PROFILES": "kraken", "NIJA_BROKERS": "kraken,okx"},
            r"^NIJA_BROKERS names other brokers than COMPOSE_",
        ),
    ],
)
def test_profiles_that_are_not_the_brokers_to_serve_are_refused(
    environment: pytest.MonkeyPatch, variables: dict[str, str], line: str
) -> None:
    """The services take the brokers that they serve from the profiles."""
    environment.setattr("os.environ", {**VARIABLES, **variables})
    with pytest.raises(ConfigurationError, match=line):
        check_settings(NEEDED)


def test_without_any_key_one_is_asked_for(environment: pytest.MonkeyPatch) -> None:
    """No list of brokers and no key: there is nothing to run."""
    without = {name: value for name, value in VARIABLES.items() if not name.startswith("KRAKEN")}
    environment.setattr("os.environ", without)
    with pytest.raises(ConfigurationError, match=r"^KRAKEN_MASTER_API_KEY and KRAKEN_MASTER_API_SECRET are missing"):
        check_settings(NEEDED)


def test_what_is_malformed_is_named(environment: pytest.MonkeyPatch) -> None:
    """The same checks as at the start of every stage."""
    environment.setattr("os.environ", {**VARIABLES, "NIJA_SECRET_KEY": "short"})
    with pytest.raises(ConfigurationError, match=r"^NIJA_SECRET_KEY should be one or more Fernet keys.*\(in \.env\)$"):
        check_settings(NEEDED)
