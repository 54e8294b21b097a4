"""What can go wrong when nija runs on one machine; every text is fit to show to a user."""

from shared.domain.errors import NijaError


class LocalSystemError(NijaError):
    """The local system cannot start or go on; the text says why and what would help."""


class AlreadyRunning(LocalSystemError):
    """Another `nija` uses this data folder."""


class NothingRuns(LocalSystemError):
    """There is no running system to ask: a finding, and no wrong use."""


class StartFailed(LocalSystemError):
    """A process or server did not become ready in time, or ended before it was."""
