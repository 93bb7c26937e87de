"""Limits that keep one program from harming the machine.

These are the bounds of `make check`; they stop accidents (a fork in a loop,
endless output, a spin), not attacks.  RLIMIT_NPROC does not bind root, so a
cgroup with a limit of tasks is used where one can be made (cgroups(7), v2 or
the v1 pids controller).  Elsewhere RLIMIT_NPROC binds all but root; for root
the runner counts as it goes, and programs run at a lower priority.
"""
from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

from . import procfs

#: Tasks (processes and threads) that one program may have at a time.
MAX_TASKS = 500
#: Bytes of one file that a program may write, its output included.
MAX_FILE_BYTES = 16 << 20
#: Processor seconds of one program (more under Valgrind).
MAX_CPU_SECONDS = 20
#: Address space; generous, for threads reserve 8 MiB of stack each.
MAX_ADDRESS_SPACE = 32 << 30


#: What is added to the nice value of programs that are only counted.
_NICE = 10

#: "no": do as where no cgroup can be made, to see that this works as well.
CGROUPS_VARIABLE = "SOCKSTEP_CGROUPS"
_PIDS_HIERARCHIES = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/pids"))


class TaskLimit:
    """A cgroup that this process and the programs it starts live in.

    Where no group can be made `path` is None, and tasks are counted.
    """

    def __init__(self) -> None:
        self.path = self._make()
        self._refused = 0
        if self.path:
            self._home = self.path.parent / _own_group()
            (self.path / "cgroup.procs").write_text(str(os.getpid()))

    @staticmethod
    def _make() -> Path | None:
        if os.environ.get(CGROUPS_VARIABLE) == "no":
            return None
        for parent in _PIDS_HIERARCHIES:
            _remove_abandoned(parent)
            path = parent / f"sockstep-{os.getpid()}"
            try:
                path.mkdir()
            except OSError:
                continue
            # The kernel fills the folder of a group; elsewhere it is empty.
            if (path / "pids.max").exists():
                (path / "pids.max").write_text(str(MAX_TASKS))
                return path
            path.rmdir()
        return None

    def _count_refused(self) -> int:
        words = (self.path / "pids.events").read_text().split()
        return int(words[words.index("max") + 1])

    def exceeded(self) -> bool:
        """Whether more tasks were made, or tried, since the last `reset`."""
        if self.path is not None:
            return self._count_refused() > self._refused
        # The machine's number is read at once, one's own takes a while.
        return procfs.tasks_of_machine() > MAX_TASKS and \
            procfs.has_tasks(os.getpid(), MAX_TASKS)

    def reset(self) -> None:
        """Start over for another program."""
        if self.path:
            (self.path / "pids.max").write_text(str(MAX_TASKS))
            self._refused = self._count_refused()

    def launch_words(self) -> list[str]:
        """What `launch` must be told, beside the other limits."""
        if self.path:
            return []
        _soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        tasks = procfs.tasks_of_machine() + MAX_TASKS
        if hard != resource.RLIM_INFINITY:
            tasks = min(tasks, hard)
        # Root is not bound by that: at least the runner must get a turn.
        return [f"nproc={tasks}"] + ([f"nice={_NICE}"] if os.getuid() == 0
                                     else [])

    def forbid_forks(self) -> None:
        """No task of this group can make another one until `reset`."""
        if self.path:
            (self.path / "pids.max").write_text("0")

    def leave(self) -> None:
        """Go back to the group that this process came from."""
        if self.path is None:
            return
        (self._home / "cgroup.procs").write_text(str(os.getpid()))
        try:
            self.path.rmdir()
        except OSError:
            pass        # a program is still ending in it; the next run tidies
        self.path = None


def _own_group() -> str:
    """The path of this process's group that counts tasks, relative."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == "pids":
            return path.lstrip("/")
    return line.split(":", 2)[2].lstrip("/")        # v2: the only line


def _remove_abandoned(parent: Path) -> None:
    """Remove the groups of workers that were killed before they could."""
    for path in parent.glob("sockstep-*"):
        if procfs.stat(int(path.name.split("-")[1])) is None:
            try:
                path.rmdir()
            except OSError:
                pass                        # another worker was faster


def end_all(pids_now, limit: TaskLimit | None = None) -> None:
    """End every process that `pids_now()` lists, even while they fork.

    Their groups are killed whole, which no fork can outrun: kill(2) and
    fork(2) exclude each other.  One that left its group is stopped first,
    until no new one shows up, and killed then.
    """
    if limit:
        limit.forbid_forks()
    stopped: set[int] = set()
    killed = {os.getpgrp()}                 # one's own: never
    while True:
        fresh = [pid for pid in pids_now() if pid not in stopped]
        if not fresh:
            break
        for pid in fresh:
            facts = procfs.stat(pid)
            if facts and facts.group not in killed:
                killed.add(facts.group)
                _signal(-facts.group, signal.SIGKILL)
            stopped.add(pid)
            _signal(pid, signal.SIGSTOP)
    for pid in stopped:
        _signal(pid, signal.SIGKILL)
    if limit:
        limit.reset()                       # the next program may fork again


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass                                # it ended on its own meanwhile


def reap_adopted() -> None:
    """Wait for the processes that became our children by a parent's end."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
