"""Every time limit of the runner comes from here.

The runner hardly ever waits for a clock: the kernel says that a program is
blocked for good long before a deadline passes (see `program.Program.quiet`).
Deadlines bound what remains: spinning programs, timers, slow machines.
"""
from __future__ import annotations

import os
import time

#: Seconds for one piece of work of a program on an idle machine.
WORK_SECONDS = 5.0
#: Seconds for the processes that a program made to end after it.
LEFT_SECONDS = 1.0
#: Seconds for which Linux keeps a closed connection in TIME_WAIT.
TIME_WAIT_SECONDS = 60.0
#: How much slower a program may be under Valgrind.
VALGRIND_FACTOR = 10.0
#: Processor seconds after which a program that should wait is "spinning".
SPIN_CPU_SECONDS = 0.5
#: Between two looks at what is waited for, where it comes soon.
PAUSE_SECONDS = 0.005


def load_factor() -> float:
    """How much longer things take than on an idle machine, 1.0 to 20.0."""
    return min(20.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def hurry(factor: int) -> str:
    """The item of a fault plan that lets a program's time run faster.

    It is `factor` times as fast on an idle machine, and slower on a loaded
    one, where the runner needs longer for its part.
    """
    return f"clock@*=fast:{max(1, round(factor / load_factor()))}"


class Deadline:
    """A point in time, scaled by the machine's load when it was set."""

    def __init__(self, seconds: float = WORK_SECONDS, factor: float = 1.0):
        self.seconds = seconds * factor * load_factor()
        self._start = time.monotonic()
        self._end = self._start + self.seconds

    def left(self) -> float:
        """Seconds that are left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def passed(self) -> float:
        """Seconds since it was set."""
        return time.monotonic() - self._start

    def next_pause(self, pause: float) -> float:
        """The pause after one of `pause` seconds between two looks.

        Each is longer than the one before, up to a fiftieth of the time that
        has passed: what takes long anyhow need not be looked at as often.
        """
        longest = max(PAUSE_SECONDS, self.passed() / 50)
        return min(longest, pause * 2 + 0.0001)

    def extend(self) -> None:
        """Give as much time again; `seconds` stays what was allowed."""
        self._end += self.seconds

    def expired(self) -> bool:
        return time.monotonic() >= self._end
