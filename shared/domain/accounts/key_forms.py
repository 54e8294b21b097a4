"""Defines the rules by which a broker's keys are recognised: which form they have, and what can be no key.

Each broker's profile holds its own `KeyRules`; this module applies them.

A key that cannot be one is refused. A key of an unusual length is not: brokers change their forms, and test servers
have their own. `usual_form` is added to the broker's own words when the broker refuses a key or cannot be asked.
No message repeats any part of a key.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Final


class KeyPart(StrEnum):
    """One of the texts that make an API key. The value is its column in an import file."""

    API_KEY = "api_key"
    API_SECRET = "api_secret"  # noqa: S105 - a name
    PASSPHRASE = "passphrase"  # noqa: S105 - the same

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS: Final = {
    KeyPart.API_KEY: "API key",
    KeyPart.API_SECRET: "API secret",
    KeyPart.PASSPHRASE: "passphrase",
}

Texts = Mapping[KeyPart, str]
"""The parts that a key has, without the empty ones."""
Fault = tuple[KeyPart, str]
"""The part that is wrong, and what would be right."""
UUID_PATTERN: Final = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
PEM_PATTERN: Final = r"\s*-----BEGIN .*"


@dataclass(frozen=True, slots=True)
class KeyForm:
    """The usual form of one part: a pattern for the whole text, and words that follow "usually has"."""

    pattern: re.Pattern[str]
    words: str

    def fits(self, text: str) -> bool:
        return self.pattern.fullmatch(text) is not None


def key_form(pattern: str, words: str) -> KeyForm:
    return KeyForm(re.compile(pattern, re.DOTALL), words)


def _no_fault(texts: Texts) -> Fault | None:  # noqa: ARG001  # the rule of a broker that has none
    return None


def _either_kind(texts: Texts, paper: bool) -> Fault | None:  # noqa: ARG001  # the same
    return None


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What one broker's keys must be. Every check returns the first fault, or None."""

    title: str
    """The broker's name for messages, such as `Kraken`."""
    forms: Mapping[KeyPart, KeyForm]
    """The parts that a key of this broker has, with their usual forms."""
    fault_of_form: Callable[[Texts], Fault | None] = _no_fault
    """Finds a part that cannot sign a request. Quick: it runs for every connection."""
    fault_of_private_key: Callable[[Texts], Fault | None] = _no_fault
    """Finds a secret that cannot sign. Slower than `fault_of_form`: it runs when a key is given."""
    fault_of_paper: Callable[[Texts, bool], Fault | None] = _either_kind
    """Finds a live key where a paper key is expected, or the reverse. The second argument: paper is expected."""

    def fault_of_missing(self, texts: Texts) -> Fault | None:
        """Find a part that keys of this broker have and this one lacks."""
        missing = next((part for part in self.forms if not texts.get(part)), None)
        if missing is None:
            return None
        if missing is KeyPart.PASSPHRASE:
            return missing, f"{self.title} keys have a passphrase; give it too"
        return missing, f"the {missing.words} is empty"

    def fault_of_mix_up(self, texts: Texts) -> Fault | None:
        """Find two parts that have the same value, or each other's form."""
        for first, second in combinations([part for part in self.forms if texts.get(part)], 2):
            if texts[first] == texts[second]:
                return second, f"the {second.words} is the same as the {first.words}; each has a value of its own"
            are_right = self.forms[first].fits(texts[first]) and self.forms[second].fits(texts[second])
            are_swapped = self.forms[first].fits(texts[second]) and self.forms[second].fits(texts[first])
            if are_swapped and not are_right:
                return first, f"the {first.words} and the {second.words} are swapped: each has the form of the other"
        return None

    def usual_form(self, broker: str, texts: Texts) -> str:
        """Describe the usual form of the parts that differ from it; empty when none does."""
        unlike = [
            f"the {part.words} of {broker} usually has {form.words} (this one has {len(text)} characters)"
            for part, form in self.forms.items()
            if (text := texts.get(part)) and not form.fits(text)
        ]
        return "; ".join(unlike)


def is_base64(text: str) -> bool:
    """Whether the text is base64 of at least one byte."""
    try:
        return len(b64decode(text, validate=True)) > 0
    except (Base64Error, ValueError):
        return False
