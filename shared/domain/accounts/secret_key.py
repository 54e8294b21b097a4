"""The hint that errors about a missing or malformed NIJA_SECRET_KEY show."""

from typing import Final

HOW_TO_MAKE_A_KEY: Final = (
    'make one with: python3 -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())", '
    "or with `docker run --rm nija` in front of it"
)
"""A Fernet key is 32 random bytes. The command needs no package, so it also runs where nija is not installed."""
