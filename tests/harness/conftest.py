"""What the tests of the runner's own parts have in common."""
from __future__ import annotations

import compileall
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sockstep import procfs
from sockstep.tools import Tools

from workshop import PACKAGE, ROOT, Project, Workshop

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """What a script starts in the background ignores SIGINT, and so would
    all that the tests start: they ask what becomes of that signal.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tools() -> Tools:
    """The kit's own binaries; `make build` makes them."""
    found = Tools(ROOT / "build/src/launch", ROOT / "build/src/fault_preload.so")
    missing = [path for path in vars(found).values() if not path.exists()]
    assert not missing, f"run `make build` first: {missing[0]} is not there"
    return found


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs that were compiled for any test."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def shop(tmp_path: Path, compiled: Path, tools: Tools) -> Iterator[Workshop]:
    """Makes programs and stages; no process may outlive the test."""
    # Orphans of the programs become children of this process, as they do
    # with the runner.
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    before = set(procfs.descendants(os.getpid()))
    made = Workshop(tmp_path, compiled, tools)
    yield made
    made.close()
    assert set(procfs.descendants(os.getpid())) <= before


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the runner, compiled: each copy of this one starts fast."""
    copy = tmp_path_factory.mktemp("package") / "sockstep"
    shutil.copytree(PACKAGE, copy,
                    ignore=shutil.ignore_patterns("__pycache__"))
    with_prefix, sys.pycache_prefix = sys.pycache_prefix, None
    try:
        assert compileall.compile_dir(copy, quiet=1)
    finally:
        sys.pycache_prefix = with_prefix
    return copy


@pytest.fixture
def project(tmp_path: Path, tools: Tools, package: Path) -> Iterator[Project]:
    """A small kit of its own, with a copy of the runner."""
    made = Project(tmp_path / "kit", tools, package)
    yield made
    made.close()


@pytest.fixture
def until() -> Callable:
    """Wait for a condition of the kernel's; its value, or the test fails."""
    def wait(condition: Callable, seconds: float = 10.0):
        end = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, "this never came true"
            os.sched_yield()
    return wait


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """What a test does to this process's signals is undone after it."""
    numbers = [number for number in signal.valid_signals()
               if number not in (signal.SIGKILL, signal.SIGSTOP)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)
