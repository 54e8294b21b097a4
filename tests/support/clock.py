"""Provides a clock for tests of what happens with time."""


class Clock:
    """It stands until a test moves it. Call it for its seconds."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds
