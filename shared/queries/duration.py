"""Writes durations in words."""


def duration(seconds: float) -> str:
    """A duration in the two largest units: '5 s', '3 min 5 s', '2 h 10 min', '4 d 3 h'."""
    whole = int(seconds)
    for size, name, below, below_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name}" + (f" {rest} {below_name}" if rest else "")
    return f"{whole} s"
