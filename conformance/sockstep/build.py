"""Compiling submissions and mutants."""
from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import confine, procfs

LAUNCH = Path(__file__).resolve().parents[2] / "build/src/launch"

#: gnu11 is what a compiler takes without -std: no call is hidden from view.
CFLAGS = ["-std=gnu11", "-g", "-O1", "-pthread", "-Wall", "-Wextra"]
BUILD_SECONDS = 120
#: Bytes of one file that a build may write, and of its words that are kept
#: from the beginning and from the end.
MAX_FILE_BYTES = 256 << 20
MAX_WORDS_BYTES = 32 << 10


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or "cc")


#: The libraries that a program may ask for, in a line of its head comment
#: such as ` * Links: -luring`.
LIBRARIES = ("-luring", "-lunistring", "-lm", "-lrt")
_LINKS = re.compile(r"^ \* Links: (.*)$", re.MULTILINE)


def libraries(source: Path) -> list[str]:
    """What the program's head comment says it is linked with.

    Only what the kit knows: the words may be a stranger's.
    """
    found = _LINKS.search(source.read_text(errors="replace"))
    return [word for word in (found[1].split() if found else [])
            if word in LIBRARIES]


def compile_program(sources: list[Path], output: Path, root: Path,
                    warnings: bool = True,
                    limit: confine.TaskLimit | None = None) -> str:
    """Compile `sources`, all of one folder; returns the compiler's words.

    Raises `BuildError` with them if it fails.
    """
    folder = sources[0].parent
    output.parent.mkdir(parents=True, exist_ok=True)
    flags = [flag for flag in CFLAGS if warnings
             or not flag.startswith("-W")] + ([] if warnings else ["-w"])
    return run([*compiler(), *flags, f"-I{root / 'src'}", "-o", str(output),
                *(source.name for source in sources),
                str(root / "build/src/libsockstep.a"),
                *(word for source in sources for word in libraries(source))],
               folder, limit)


class BuildError(RuntimeError):
    """A program could not be built; the message holds the tool's words."""


def run(command: list[str], folder: Path,
        limit: confine.TaskLimit | None = None, **variables: str) -> str:
    """Run one build command in `folder`, bounded; returns its words.

    `variables` are added to its environment.
    """
    limits = [f"fsize={MAX_FILE_BYTES}", f"cpu={BUILD_SECONDS}",
              *(limit.launch_words() if limit else [])]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [str(LAUNCH), *limits, "--", *command], cwd=folder,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, **variables})
        try:
            _await(process, command, limit)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        words = _words(output)
    if limit and limit.exceeded():
        raise BuildError(f"{shlex.join(command)}: it made more than "
                         f"{confine.MAX_TASKS} processes")
    status = process.returncode
    if status == 125 and words.startswith("launch: exec "):
        raise BuildError(words.removeprefix("launch: exec "))
    if status != 0:
        how = f"exit status {status}" if status > 0 else \
            f"killed by {procfs.signal_name(-status)}"
        raise BuildError(words or f"{shlex.join(command)}: {how}")
    return words


def _await(process: subprocess.Popen, command: list[str],
           limit: confine.TaskLimit | None) -> None:
    """Wait for the command's own process; BuildError when it takes long."""
    end = time.monotonic() + BUILD_SECONDS
    while True:
        try:
            process.wait(0.1)
            return
        except subprocess.TimeoutExpired:
            if limit and limit.exceeded():
                return                      # it is ended and told of
            if time.monotonic() > end:
                raise BuildError(f"{shlex.join(command)}: not done after "
                                 f"{BUILD_SECONDS} s") from None


def _words(output) -> str:
    """What was written, the middle left out where it is too much."""
    size = output.seek(0, os.SEEK_END)
    output.seek(0)
    first = output.read(MAX_WORDS_BYTES)
    if size > 2 * MAX_WORDS_BYTES:
        output.seek(size - MAX_WORDS_BYTES)
        first += b"\n[...]\n"
    return (first + output.read()).decode(errors="backslashreplace").strip()


def in_parallel(tasks: list, jobs: int) -> list:
    """Run callables side by side; their results in order."""
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        return [future.result() for future
                in [pool.submit(task) for task in tasks]]
