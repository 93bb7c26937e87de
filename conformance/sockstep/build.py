"""Compiling submissions and mutants."""
from __future__ import annotations

import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

#: gnu11 is what a compiler takes without -std: no call is hidden from view.
CFLAGS = ["-std=gnu11", "-g", "-O1", "-pthread", "-Wall", "-Wextra"]
BUILD_SECONDS = 120


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or "cc")


def compile_program(sources: list[Path], output: Path, root: Path,
                    warnings: bool = True) -> str:
    """Compile `sources`, all of one folder; returns the compiler's words.

    Raises `BuildError` with them if it fails.
    """
    folder = sources[0].parent
    output.parent.mkdir(parents=True, exist_ok=True)
    flags = [flag for flag in CFLAGS if warnings
             or not flag.startswith("-W")] + ([] if warnings else ["-w"])
    return run([*compiler(), *flags, f"-I{root / 'src'}", "-o", str(output),
                *(source.name for source in sources),
                str(root / "build/src/libsockstep.a")], folder)


class BuildError(RuntimeError):
    """A program could not be built; the message holds the tool's words."""


def run(command: list[str], folder: Path) -> str:
    """Run one build command in `folder`, bounded in time."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True,
                              text=True, errors="backslashreplace",
                              stdin=subprocess.DEVNULL, check=False,
                              timeout=BUILD_SECONDS, start_new_session=True)
    except subprocess.TimeoutExpired:
        raise BuildError(f"{shlex.join(command)}: not done after "
                         f"{BUILD_SECONDS} s") from None
    except OSError as error:
        raise BuildError(f"{command[0]}: {error.strerror}") from None
    words = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        raise BuildError(words or f"{shlex.join(command)}: exit status "
                         f"{done.returncode}")
    return words


def in_parallel(tasks: list, jobs: int) -> list:
    """Run callables side by side; their results in order."""
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        return [future.result() for future
                in [pool.submit(task) for task in tasks]]
