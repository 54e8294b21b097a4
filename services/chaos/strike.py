"""Runs a stage that can be struck at a step: `python -m services.chaos.strike FOLDER MODULE [ARGUMENT …]`.

For `nija chaos --steps` only. While FOLDER has the file `armed` with a step's number, the process that reaches that
step first renames the file to `struck.PID`, and stops itself there, with SIGKILL or SIGSTOP as the file says. The
stages themselves know nothing of this: their functions are wrapped from outside, in a process started for it.
"""

import functools
import inspect
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.chaos.protocol_steps import STEPS, Moment, Step

ARMED = "armed"
STRUCK = "struck."


def arm(folder: Path, number: int, signal_number: signal.Signals) -> None:
    """Have the process that reaches the step of that number first strike itself down."""
    fresh = folder / "arming"
    fresh.write_text(f"{number} {signal_number.value}")
    fresh.rename(folder / ARMED)


def disarm(folder: Path) -> None:
    """Forget what was armed and what was struck."""
    for file in (folder / ARMED, *folder.glob(f"{STRUCK}*")):
        file.unlink(missing_ok=True)


def struck(folder: Path) -> int | None:
    """The process that has struck itself down; None: none yet."""
    found = next(folder.glob(f"{STRUCK}*"), None)
    return int(found.suffix[1:]) if found else None


def _strike_if_armed(folder: Path, number: int) -> None:
    armed = folder / ARMED
    try:
        wanted, signal_number = armed.read_text().split()
        if int(wanted) != number:
            return
        armed.rename(folder / f"{STRUCK}{os.getpid()}")
    except FileNotFoundError:  # not armed, or another process was faster
        return
    os.kill(os.getpid(), int(signal_number))


def wrapped(step: Step, strike: Callable[[], None]) -> Callable[..., Any]:
    """The function of the step with a call of `strike` at its moment."""
    call = present(step)

    def reach(moment: Moment, arguments: tuple[Any, ...]) -> None:
        is_counted = step.order_step is None or isinstance(arguments[-1], step.order_step)
        if moment == step.moment and is_counted:
            strike()

    if inspect.iscoroutinefunction(call):

        @functools.wraps(call)
        async def slowly(*arguments: Any, **named: Any) -> Any:
            reach("before", arguments)
            result = await call(*arguments, **named)
            reach("after", arguments)
            return result

        return slowly

    @functools.wraps(call)
    def at_once(*arguments: Any, **named: Any) -> Any:
        reach("before", arguments)
        result = call(*arguments, **named)
        reach("after", arguments)
        return result

    return at_once


def place_of(step: Step) -> tuple[Any, str]:
    """The module or class that has the function of the step, and the name of the function in it."""
    *classes, name = step.target.__qualname__.split(".")
    return functools.reduce(getattr, classes, sys.modules[step.target.__module__]), name


def present(step: Step) -> Callable[..., Any]:
    """The function that a stage calls now. It differs from the target if another step has wrapped it."""
    call: Callable[..., Any] = getattr(*place_of(step))
    return call


def _prepare(folder: Path, number: int, step: Step) -> None:
    owner, name = place_of(step)
    setattr(owner, name, wrapped(step, functools.partial(_strike_if_armed, folder, number)))


def main() -> None:
    """Prepare the steps of the stage, then run it as if it had been started itself."""
    _, folder, module, *arguments = sys.argv
    stage = "broker_worker" if module == "celery" else module.split(".")[1]
    for number, step in enumerate(STEPS):
        if step.process.partition(" ")[0] == stage:
            _prepare(Path(folder), number, step)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
