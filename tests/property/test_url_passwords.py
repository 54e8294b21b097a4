"""A password in a URL is read as it is meant, or the setting is refused: no part of it is ever shown."""

import re
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.url import parse_url as parsed_by_celery
from pydantic import SecretStr
from redis.connection import parse_url as parsed_by_redis
from sqlalchemy.engine import make_url

from shared.config import ConfigurationError, load_settings
from shared.domain.identity import Broker
from shared.messaging.celery_app import celery_url
from shared.observability.redaction import Redactor

URLS = {
    "REDIS_URL": "redis://{}@server.example:6379/3",
    "OKX_REDIS_URL": "rediss://{}@server.example/3",
    "DATABASE_URL": "postgresql+psycopg://{}@server.example:5432/nija",
    "KRAKEN_PROXY": "http://{}@server.example:3128",
    "ALPACA_BASE_URL": "https://{}@server.example:8000/v2",
}
PASSWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=20)
LOGINS = st.tuples(st.sampled_from(["", "user"]), PASSWORDS)
SHORTEST_PART = 5


def loaded(name: str, url: str) -> Any:
    return load_settings({name: url, "NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""})


@pytest.mark.parametrize("name", URLS)
@given(login=LOGINS)
def test_a_password_is_read_whole_or_refused_without_showing_it(name: str, login: tuple[str, str]) -> None:
    """Whatever is in it. The text names the setting and says how a special character is written."""
    user, password = login
    url = URLS[name].format(f"{user}:{password}")
    try:
        settings = loaded(name, url)
    except ConfigurationError as error:
        text = str(error)
        assert text.startswith(f"{name} ")
        assert "percent-encode" in text
        # No part between special characters either, which could be taken for a host or a port.
        for part in re.split(r"\W", password):
            assert len(part) < SHORTEST_PART or part not in text
        return
    parts = urlsplit(url)
    assert (parts.hostname, parts.username or "", parts.password) == ("server.example", user, password)
    assert any(secret.get_secret_value() == password for secret in settings.secrets())


@given(login=LOGINS)
def test_a_percent_encoded_password_means_the_same_to_every_library(login: tuple[str, str]) -> None:
    """redis-py, Celery and SQLAlchemy read the same name, password, host and database."""
    user, password = login
    encoded = f"{user}:{quote(password, safe='')}"
    url = loaded("OKX_REDIS_URL", URLS["OKX_REDIS_URL"].format(encoded)).redis_url_for(Broker.OKX)
    by_redis = parsed_by_redis(url)
    assert (by_redis.get("username", ""), by_redis["password"], by_redis["db"]) == (user, password, 3)
    by_celery = parsed_by_celery(celery_url(url))
    assert (by_celery["userid"] or "", by_celery["password"], by_celery["virtual_host"]) == (user, password, "3")
    assert (by_redis["host"], by_celery["hostname"]) == ("server.example", "server.example")
    by_sqlalchemy = make_url(loaded("DATABASE_URL", URLS["DATABASE_URL"].format(encoded)).required_database_url())
    assert (by_sqlalchemy.username or "", by_sqlalchemy.password, by_sqlalchemy.host) == (
        user,
        password,
        "server.example",
    )


@given(login=LOGINS, encoded=st.booleans())
def test_no_log_shows_a_password_of_a_url(login: tuple[str, str], encoded: bool) -> None:
    """Known or not, percent-encoded or not: the host stays, the password goes."""
    user, password = login
    written = quote(password, safe="") if encoded else password
    text = f"cannot connect to redis://{user}:{written}@server.example:6379/0 now"
    if not re.search(r"[\s'\"]", written) and not written.startswith("<password>"):
        shown = Redactor().text(text)
        assert shown == f"cannot connect to redis://{user}:***@server.example:6379/0 now"
    assert password not in Redactor([SecretStr(password)]).text(text.replace("server", "host"))
