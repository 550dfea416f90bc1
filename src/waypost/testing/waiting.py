"""Waiting on conditions, as every test here does: never for a while, always for something.

Use: `wait_until(lambda: hop.messages, "the message")`. Promises to return as soon as the condition
holds, and to name what was missing when it does not hold in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LONG = 30.0
"""Seconds that no condition should need, even on a machine that is busy with other tests."""
_PAUSE = 0.01

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None], what: Callable[[], str] | str, seconds: float = LONG
) -> T:
    """The first true value of `condition`, asked again and again.

    Raises TimeoutError after `seconds`, with `what` was waited for; a callable is asked only then.
    """
    until = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > until:
            told = what if isinstance(what, str) else what()
            raise TimeoutError(f"not within {seconds:g} s: {told}")
        time.sleep(_PAUSE)
    return value
