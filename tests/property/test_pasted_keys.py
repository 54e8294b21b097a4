"""Tests that quotes, blanks and invisible characters around a key are never stored, and that no key is shown."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.brokers.registry import profile_of
from shared.config import ConfigurationError, load_settings
from shared.domain.accounts.credentials import Credentials, KeyFault, KeyPart, malformed, read_key
from shared.domain.identity import Broker
from shared.persistence.errors import ImportRefused
from shared.persistence.followers.import_file import ImportFormat, read_rows

KEY, SECRET = "Zk9-key_0f/the+user", "c2VjcmV0IG9mIHRoZSB1c2VyLg=="
PASSPHRASE = "Correct Horse 1!"

blanks = st.text(
    st.sampled_from(
        " \t\r\n\x0b\x0c\x85\u00a0\u2003\u2028\u202f\u3000\u200b\u200d\u2060\ufeff\u00ad\u200e\ufe0f\u2800"
    ),
    max_size=4,
)
OPENING, CLOSING = "\"'`\u201c\u201e\u2018\u00ab\u201a\uff02", "\"'`\u201d\u201c\u2019\u00bb\u201b\uff02"
opening, closing = st.sampled_from(OPENING), st.sampled_from(CLOSING)


@st.composite
def wrapped(draw: st.DrawFn, text: str) -> str:
    """The text with layers of blanks and of quotes in pairs around it."""
    for _ in range(draw(st.integers(0, 3))):
        text = draw(blanks) + text + draw(blanks)
        if draw(st.booleans()):
            text = draw(opening) + text + draw(closing)
    return draw(blanks) + text + draw(blanks)


def of_kraken(key: str, secret: str) -> Credentials:
    given = {KeyPart.API_KEY: key, KeyPart.API_SECRET: secret}
    return read_key(profile_of(Broker.KRAKEN).keys, given, paper=False, at_broker=True)


BARE = of_kraken(KEY, SECRET)


@settings(deadline=None)
@given(wrapped(KEY), wrapped(SECRET))
def test_only_the_bare_key_is_ever_stored(key: str, secret: str) -> None:
    """From variables, a CSV file and JSON lines alike."""
    assert of_kraken(key, secret) == BARE
    row = {"follower_id": "alice", "broker": "kraken", "api_key": key, "api_secret": secret}
    assert read_rows(json.dumps(row), ImportFormat.JSON_LINES)[0].credentials == BARE
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(row), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerow(row)
    assert read_rows(text.getvalue(), ImportFormat.CSV)[0].credentials == BARE
    with TemporaryDirectory() as folder:
        variables = {"KRAKEN_MASTER_API_KEY": key, "KRAKEN_MASTER_API_SECRET": secret}
        assert load_settings(variables, folder=Path(folder)).master_credentials(Broker.KRAKEN) == BARE


@given(st.data())
def test_what_stands_inside_a_key_is_refused_and_not_shown(data: st.DataObject) -> None:
    """A blank or a quote in the middle, or at one end: the part is named, and nothing of it is repeated."""
    place = data.draw(st.integers(1, len(KEY) - 1))
    one_end = data.draw(opening) + KEY
    key = data.draw(st.sampled_from([KEY[:place] + data.draw(blanks.filter(bool)) + KEY[place:], one_end]))
    with pytest.raises(KeyFault) as raised:
        of_kraken(data.draw(wrapped(key)) if key is not one_end else key, SECRET)
    assert raised.value.part is KeyPart.API_KEY
    assert not shows(str(raised.value), KEY)


@given(st.data())
def test_a_passphrase_with_something_around_it_is_refused_and_not_shown(data: st.DataObject) -> None:
    """It is never changed and never stored so. Line ends and a byte order mark alone are no part of any."""
    around = blanks.filter(lambda text: bool(text.strip("\r\n\ufeff")))
    spoilt = data.draw(
        st.one_of(
            around.map(lambda text: text + PASSPHRASE),
            around.map(lambda text: PASSPHRASE + text),
            st.tuples(opening, closing).map(PASSPHRASE.join),
        )
    )
    given = {KeyPart.API_KEY: KEY, KeyPart.API_SECRET: SECRET, KeyPart.PASSPHRASE: spoilt}
    with pytest.raises(KeyFault) as raised:
        read_key(profile_of(Broker.OKX).keys, given, paper=False, at_broker=True)
    assert raised.value.part is KeyPart.PASSPHRASE
    assert not shows(str(raised.value), PASSPHRASE)


@st.composite
def anything(draw: st.DrawFn) -> tuple[str, str]:
    """Any text, and a part of it that no message has by accident."""
    marker = draw(st.uuids()).hex
    return draw(st.text(max_size=20)) + marker + draw(st.text(max_size=20)), marker


@settings(deadline=None)
@given(st.sampled_from(list(Broker)), st.tuples(anything(), anything(), anything()))
def test_no_text_at_all_is_ever_shown(broker: Broker, parts: tuple[tuple[str, str], ...]) -> None:
    """Whatever is given: a key that the adapters take, or one error per way in that repeats nothing."""
    given = {part: text for part, (text, _) in zip(KeyPart, parts, strict=True)}
    try:
        found = read_key(profile_of(broker).keys, given, paper=False, at_broker=True)
    except KeyFault as fault:
        messages = [str(fault)]
    else:
        assert malformed(profile_of(broker).keys, found) is None
        return
    row = {"follower_id": "alice", "broker": broker.value, **{part.value: text for part, text in given.items()}}
    with pytest.raises(ImportRefused) as refused:
        read_rows(json.dumps(row), ImportFormat.JSON_LINES)
    messages.append(str(refused.value))
    with TemporaryDirectory() as folder:
        variables = {f"{broker.name}_USER_ALICE_{part.name}": text for part, text in given.items()}
        with pytest.raises(ConfigurationError) as wrong:
            load_settings(variables, folder=Path(folder))
    messages.append(str(wrong.value))
    assert not any(shows(message, marker) for message in messages for _, marker in parts)


def shows(message: str, text: str) -> bool:
    """Whether the message repeats a piece of the text that is longer than an accident."""
    return any(text[at : at + 8] in message for at in range(len(text) - 7))
