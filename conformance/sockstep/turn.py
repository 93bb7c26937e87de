"""What `make test` leaves to other commits: of what takes long, a share.

The commit's number says which share is due.  So each has its turn, and one
commit is always judged by the same.  `make check` and `make prove` ask all.
"""
from __future__ import annotations

import subprocess
from pathlib import Path

from .case import Case
from .contract import Target

#: One in so many is due.
SHARE = 4


def of_commit(root: Path) -> int:
    """The number of the commit that is checked out; 0 outside of git."""
    told = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"],
                          capture_output=True, text=True)
    return int(told.stdout, 16) if told.returncode == 0 else 0


def leave_out(target: Target, number: int, slow: list[str]) -> None:
    """Ask of `target` only those of the cases `slow` whose turn it is.

    `number`: the commit's, and another one for each program.
    """
    left = {slug for place, slug in enumerate(slow)
            if (number + place) % SHARE != 0}
    target.cases = [slug for slug in target.cases if slug not in left]


def is_slow(entry: Case) -> bool:
    """Whether it takes several times as long as the others, each time."""
    return entry.valgrind or entry.sanitized
