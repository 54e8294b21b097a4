"""Defines the errors of questions about capital, one class for each next step of the caller."""

from shared.domain.errors import NijaError


class NoSuchAccount(NijaError):
    """There is no such account. The text names the accounts that there are."""


class UnknownPair(NijaError):
    """The broker of the account does not list the pair, or it is not paid with cash."""


class AccountNotRead(NijaError):
    """What the account holds or is worth is not known at the moment. Ask again later."""
