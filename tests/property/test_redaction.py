"""Tests that a known secret never appears in the log."""

import json
from typing import Any
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.observability.redaction import MASK, Redactor, names_a_secret

secrets = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=6, max_size=64).filter(
    lambda text: "*" not in text and not text.isspace()
)
words = st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=20)
forms = st.sampled_from([str, quote, quote_plus, lambda text: json.dumps(text)[1:-1]])


@st.composite
def events(draw: st.DrawFn) -> tuple[str, str, Any]:
    """Draw a secret, its form in the event, and an event that contains this form."""
    secret = draw(secrets)
    shown = draw(forms)(secret)
    inside: Any = draw(words) + shown + draw(words)
    for wrap in draw(st.lists(st.sampled_from(["list", "dict", "tuple", "key", "bytes"]), max_size=4)):
        match wrap:
            case "list":
                inside = [draw(words), inside]
            case "dict":
                inside = {draw(words): inside}
            case "tuple":
                inside = (inside, 1, None)
            case "key":
                inside = {str(inside): draw(words)}
            case "bytes":
                inside = str(inside).encode()
    return secret, shown, {"event": draw(words), "detail": inside}


def texts(value: Any) -> list[str]:
    """All texts in a value."""
    match value:
        case dict():
            return [text for pair in value.items() for each in pair for text in texts(each)]
        case list():
            return [text for each in value for text in texts(each)]
        case _:
            return [str(value)]


@given(events())
def test_a_known_secret_never_comes_out(case: tuple[str, str, Any]) -> None:
    """The secret is masked at any depth, as value or key, in plain form or as escaped in URLs and JSON."""
    secret, shown, event = case
    redacted = Redactor([SecretStr(secret)])(None, "info", event)
    for text in texts(redacted["detail"]):
        assert shown not in text


@given(st.dictionaries(st.sampled_from(["symbol", "follower_id", "key_hash", "keys", "price", "count"]), words))
def test_what_is_no_secret_stays(event: dict[str, str]) -> None:
    """Ordinary fields with ordinary words stay unchanged."""
    plain = {name: value for name, value in event.items() if not any(mark in value for mark in ":=@")}
    assert Redactor()(None, "info", plain) == plain


@given(
    st.sampled_from(
        ["api_key", "API-Key", "apiKey", "api_secret", "API-Sign", "signature", "passphrase", "OK-ACCESS-KEY"]
    ),
    st.text(min_size=1),
)
def test_fields_named_for_a_secret_are_masked(name: str, value: str) -> None:
    """The name of the field is enough, in any spelling."""
    assert names_a_secret(name)
    assert Redactor()(None, "info", {"headers": {name: value}}) == {"headers": {name: MASK}}


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1))
def test_a_password_in_a_url_is_masked(password: str) -> None:
    """The URL may or may not name a user."""
    for user in ("", "nija"):
        shown = Redactor().text(f"cannot reach redis://{user}:{password}@127.0.0.1:6379/0 now")
        assert shown == f"cannot reach redis://{user}:{MASK}@127.0.0.1:6379/0 now"


@given(
    st.sampled_from(["KRAKEN_MASTER_API_SECRET", "api_key", "NIJA_FOLLOWER_PASSPHRASE", "OKX_API_SECRET"]),
    st.sampled_from(["the API secret contains blanks", "unknown broker 'krakn'", "follower id 'a b' is not valid"]),
)
def test_an_error_that_begins_with_a_settings_name_keeps_its_words(name: str, words: str) -> None:
    """`NAME: words` has the form of a secret, but nija's own error messages have this form too."""
    assert Redactor().text(f"{name}: {words}") == f"{name}: {words}"
    assert "thesaurus1" not in Redactor().text(f"{name}: thesaurus1")
