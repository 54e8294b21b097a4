"""Cleans the text of an API key as people paste it, and finds what can be part of no key.

Around a key, quotes, blanks, line ends and invisible characters are removed: no broker's key begins or ends with one,
so nothing is guessed. What stands inside a key is never changed, only reported. A passphrase was chosen by a person,
so only line ends and byte order marks around it are removed. No message repeats any part of the text.
"""

import codecs
import re
import unicodedata
from typing import Final

from shared.domain.errors import NijaError

_QUOTES: Final = frozenset(
    "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033\u00ab\u00bb\u2039\u203a\u300c\u300d\u300e\u300f\u301d\u301e\uff02\uff07"
)
"""Straight and typographic quotes, as word processors and chat programs make them."""
_BLANK_CATEGORIES: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
_BLANKS_OF_OTHER_CATEGORIES: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks that show nothing, such as fillers."""
_VARIATION_SELECTORS: Final = range(0xFE00, 0xFE10)
_LINE_ENDS: Final = "\r\n\ufeff"

_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----(.*?)-----END \1-----", re.DOTALL)
_PEM_BEGIN: Final = "-----BEGIN"
_PEM_LINE: Final = 64
_WRITTEN_LINE_END: Final = re.compile(r"\\+[rn]")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")

_NAME_IN_FRONT: Final = re.compile(
    # Not the = at the end of base64 text.
    r"""\W*(?:(?:export|set|env)\s+)?[A-Za-z][\w.\- ]*["']?\s*(?:=(?!=*$)|:)\s*\S""",
    re.IGNORECASE,
)
_PASSPHRASE_NAME_IN_FRONT: Final = re.compile(r"""\W*[A-Z_ ]*PASSPHRASE["']?\s*[=:]""", re.IGNORECASE)
_PLACEHOLDER: Final = re.compile(r"[*.…]+$|.*[<>{}$]", re.DOTALL)
_PLACEHOLDER_WORDS: Final = ("your-", "your_", "your ", "changeme", "change-me", "change_me")
_IS_PLACEHOLDER: Final = "is a placeholder, such as ${NAME} or <your key>; put the key itself there"
_NO_WHOLE_PEM: Final = (
    "is not a complete PEM private key: give all of it, from its BEGIN line to its END line, in a file or in one line with \\n "
    "for each line end"
)
_SEVERAL_PEM: Final = "has more than one PEM private key in it; give one"
_ALPHABET: Final = re.compile(r"[A-Za-z0-9+/=_-]+")


class NotText(NijaError):
    """Bytes that are no text in UTF-8 or UTF-16."""


def decoded(raw: bytes) -> str:
    """The text of a file, without a byte order mark: UTF-8, or UTF-16 as Windows writes it. Raises NotText."""
    encoding = "utf-8-sig"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in raw and raw[1::2].count(0) == len(raw) // 2:
        encoding = "utf-16-le"
    elif b"\0" in raw and raw[::2].count(0) == len(raw) // 2:
        encoding = "utf-16-be"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        raise NotText("is not text in UTF-8") from None
    if "\0" in text:
        raise NotText("is not text")
    return text


def is_blank(character: str) -> bool:
    """Whether a character shows nothing: blanks of all kinds, line ends, control and zero-width characters."""
    return (
        character.isspace()
        or unicodedata.category(character) in _BLANK_CATEGORIES
        or character in _BLANKS_OF_OTHER_CATEGORIES
        or ord(character) in _VARIATION_SELECTORS
    )


def without_blanks_around(text: str) -> str:
    """The text from its first to its last character that shows something."""
    begin, end = 0, len(text)
    while begin < end and is_blank(text[begin]):
        begin += 1
    while end > begin and is_blank(text[end - 1]):
        end -= 1
    return text[begin:end]


def bare(text: str) -> str:
    """The text without the blanks and the pairs of quotes around it, however they are nested."""
    text = without_blanks_around(text)
    while len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        text = without_blanks_around(text[1:-1])
    return "" if text and text in _QUOTES else text


def bare_key(text: str) -> str:
    r"""An API key or secret as the broker gave it out: `bare`, and a PEM key in the form that every library reads.

    A PEM key is taken out of whatever stands around it (a JSON document, other PEM blocks). Its line ends may be
    real ones, written as `\n`, or lost.
    """
    found = _PEM.findall(_WRITTEN_LINE_END.sub("\n", text))
    if len(found) != 1:
        return bare(text)
    kind, body = found[0]
    inside = "".join(character for character in body if not is_blank(character))
    if not _BASE64.fullmatch(inside):
        return bare(text)
    lines = [inside[start : start + _PEM_LINE] for start in range(0, len(inside), _PEM_LINE)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])


def bare_passphrase(text: str) -> str:
    """A passphrase without the line ends and byte order marks around it."""
    return text.strip(_LINE_ENDS)


def is_pem(text: str) -> bool:
    """Whether the text is meant to be a PEM key."""
    return _PEM_BEGIN in text


def fault_of_key(text: str) -> str | None:
    """Say what no key can have in it and this text has; None: nothing. For `bare_key` text, and for stored keys."""
    if text[:9].lower().startswith(_PLACEHOLDER_WORDS):
        return _IS_PLACEHOLDER
    if _ALPHABET.fullmatch(text) and "=" not in text.rstrip("="):
        return None  # most keys: the rest would cost a worker time at every drain
    if not text:
        return "is empty"
    if is_pem(text):
        begins, ends = text.count(_PEM_BEGIN), text.count("-----END")
        if begins > 1:
            return _SEVERAL_PEM
        return None if ends == 1 and "PRIVATE KEY-----" in text else _NO_WHOLE_PEM
    if text[0] in "{[":
        return "is a JSON document; give the value of one of its fields"
    if _PLACEHOLDER.match(text):
        return _IS_PLACEHOLDER
    if _NAME_IN_FRONT.match(text):
        return "begins with a name and = or :, such as API_KEY=; give only what follows it"
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        return "has a quote at one end and not at the other; copy it again"
    if any(is_blank(character) for character in text):
        return "contains blanks or invisible characters; copy it again, without them and without a comment"
    return None


def fault_of_characters(text: str) -> str | None:
    """Say that the text has characters that are in no broker's keys; None: it has none, or is a PEM key."""
    if _ALPHABET.fullmatch(text) or is_pem(text):
        return None
    return "contains characters that no key has; keys have letters, digits and + / = - _"


def fault_of_passphrase(text: str) -> str | None:
    """Say why the text can be no passphrase; None: it can."""
    if not text:
        return "is empty"
    if without_blanks_around(text) != text:
        return "has blanks or invisible characters around it; give it without them"
    if text[0] in _QUOTES and text[-1] in _QUOTES and len(text) > 1:
        return "has quotes around it; give it without them"
    if not (text.isascii() and text.isprintable()):
        return "contains invisible or other characters that no passphrase has; copy it again"
    if _PASSPHRASE_NAME_IN_FRONT.match(text):
        return "begins with a name and = or :, such as PASSPHRASE=; give only what follows it"
    if " #" in text:
        return "contains a blank and #, as a comment does; give it without the comment"
    return None
