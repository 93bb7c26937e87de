"""Valgrind: how a program is run under it, and what it found.

Valgrind's XML is read, not its exit status: a server that is ended by SIGTERM
exits with 143 whatever was found.  It comes by a pipe, from which nobody can
take back what is in it.  A log that is missing or cut is an error of the
harness, never a pass.  Source: valgrind(1), Valgrind's
docs/internals/xml-output-protocol4.txt.

Valgrind 3.19 takes the whole buffer of recv(2) for written, not only as many
bytes as came: what a program makes of the others is seen on the wire, by
`echo/stale-bytes` and its kin, and under Valgrind only after read(2).

Helgrind, Valgrind's tool for threads, knows what locks, joins and condition
variables put in order, and takes C11's atomics for plain accesses: what it
says of a line with one of these is left out.
"""
from __future__ import annotations

import contextlib
import re
import shutil
import signal
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from . import procfs
from .failure import Failure, HarnessError

_LEAKS = "Leak_"
#: So many stacks of threads may be there when a program is ended by a signal:
#: those of threads that live, and those that the C library keeps for the next
#: (pthread_create(3): 40 MiB of them).  More are threads that nobody joins.
_STACKS = 5
_MEMCHECK = ["--leak-check=full",
             "--show-leak-kinds=definite,indirect,possible",
             "--errors-for-leak-kinds=definite,indirect,possible"]
_CRASH = ["--leak-check=no"]
#: A pointer below this was NULL, and a field or an index was added to it.
_PAGE = 4096
#: Where two accesses conflict only the last one of each thread is kept.
_HELGRIND = ["--tool=helgrind", "--history-level=approx"]
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_ATOMIC_CALL = re.compile(r"\b_*(?:atomic|sync)_|std::(?:__)?atomic")
_ATOMIC_NAME = re.compile(
    r"(?:\b_Atomic\b[^;=(){}]*?|\batomic_\w+\s+|\batomic<[^>]*>\s+)"
    r"\**(\w+)\s*[;=\[{,]")


@dataclass(frozen=True)
class Finding:
    """One error that Valgrind reports."""

    kind: str                   # Leak_DefinitelyLost, InvalidRead ...
    what: str                   # Valgrind's own sentence
    place: str                  # "server.c:42 in serve()", or ''
    stack: tuple[str, ...]

    @property
    def is_leak(self) -> bool:
        return self.kind.startswith(_LEAKS)

    def __str__(self) -> str:
        return f"{self.what} ({self.place})" if self.place else self.what


@dataclass(frozen=True)
class Crash:
    """What the log of one process says of its end by a signal."""

    signal: int                 # 0: it did not end so
    why: str                    # such as "Access not within mapped region"
    place: str                  # "server.c:42 in serve()", or ''
    calls: tuple[str, ...]      # the places of the program's own in the stack
    before: Finding | None      # the first misuse of memory until then

    def told(self) -> str:
        """All of it, for a failure's detail."""
        lines = [f"Valgrind: {self.why}"]
        lines += [f"  {'called from' if number else 'at'} {place}"
                  for number, place in enumerate(self.calls)]
        if not self.calls:
            lines.append("  No line of the source is known: the program was "
                         "built without -g, or its stack is overwritten.")
        if self.before and self.before.place != self.place:
            lines.append(f"Valgrind, before that: {self.before}")
        return "\n".join(lines)


def command(log: int | Path, threads: bool = False) -> list[str]:
    """The words that stand before a program's own command.

    `log`: the descriptor to write to.  A folder: only where the program
    crashes is looked for, in its children as well, and each process has a log
    of its own there.  `threads`: it is watched for data races (Helgrind), not
    for misuse of memory.
    """
    crash = isinstance(log, Path)
    tool = _HELGRIND if threads else _CRASH if crash else _MEMCHECK
    return ["valgrind", "--quiet", *tool, "--num-callers=20",
            f"--child-silent-after-fork={'no' if crash else 'yes'}",
            # Both only make its start faster: no debugger, fewer tables.
            "--vgdb=no", f"--read-inline-info={'yes' if crash else 'no'}",
            "--xml=yes", f"--xml-file={log}/valgrind.%p.xml" if crash
            else f"--xml-fd={log}"]


def crashes(logs: list[bytes], own: Path | None = None) -> list[Crash]:
    """What ended the processes of these logs, or would have.

    A log that is cut off, by a SIGKILL, tells what it has.
    """
    return [_crash(log, own) for log in logs]


def _crash(log: bytes, own: Path | None) -> Crash:
    parser = ElementTree.XMLPullParser()
    with contextlib.suppress(ElementTree.ParseError):
        parser.feed(log)
    errors, end = [], None
    with contextlib.suppress(ElementTree.ParseError):
        for _event, element in parser.read_events():
            if element.tag == "fatal_signal":
                end = element
            elif element.tag == "error":
                errors.append(_finding(element, own))
    before = next((error for error in errors if not error.is_leak), None)
    if end is None:
        return Crash(0, "", "", (), before)
    calls = tuple(text for text, folder, file in map(_frame,
                                                     end.iter("frame"))
                  if file and _is_own(folder, own))
    number = int(end.findtext("signo") or 0)
    why = end.findtext("event") or procfs.signal_name(number)
    address = end.findtext("siaddr")
    if address and number in (signal.SIGSEGV, signal.SIGBUS):
        null = ", a null pointer" if not int(address, 16) else \
            ", next to a null pointer" if int(address, 16) < _PAGE else ""
        why += f" at address {address}{null}"
    return Crash(number, why, calls[0] if calls else "", calls, before)


def _is_own(folder: str | None, own: Path | None) -> bool:
    """Whether a frame's folder is that of the program's sources."""
    return Path(folder or ".").is_relative_to(own) if own \
        else not (folder or "").startswith("./")


def is_tool(path: str) -> bool:
    """Whether a process that runs this file is run by Valgrind."""
    # Such as /usr/libexec/valgrind/memcheck-amd64-linux, which no program of
    # a learner can take the place of.
    home = Path(shutil.which("valgrind") or "/").resolve().parents[1]
    return Path(path).parent.name == "valgrind" and \
        Path(path).is_relative_to(home)


def findings(log: bytes, own: Path | None = None) -> list[Finding]:
    """What Valgrind found, by its log.

    A frame of a source file in the folder `own`, if given, is preferred for
    the place.  Raises HarnessError when the log is not complete.
    """
    if not log:
        raise HarnessError("Valgrind left no log: the program was not run "
                           "under it")
    foreign = Failure("memory", "in Valgrind's log stands what is not "
                      "Valgrind's: the program has written to it")
    try:
        root = ElementTree.fromstring(log)
    except ElementTree.ParseError as error:
        if log.rstrip().endswith(b"</valgrindoutput>"):
            raise foreign from error
        raise HarnessError(f"Valgrind's log is cut off ({error}): the "
                           "program was killed before its leaks could be "
                           "counted") from error
    # A program can write to the pipe as well, but not hide what is in it
    # other than by a comment or the like, which Valgrind never makes.
    if b"<!" in log or log.count(b"<error>") != len(list(root.iter("error"))):
        raise foreign
    errors = [element for element in root.iter("error")
              if not _is_atomic(element)]
    stacks = [element for element in errors if _is_stack(element)]
    if sum(map(_blocks, stacks)) < _STACKS:
        errors = [element for element in errors if element not in stacks]
    return [_finding(element, own) for element in errors]


def _is_stack(error: ElementTree.Element) -> bool:
    """Whether it is memory of a thread's stack, to which the C library holds
    a pointer into the middle: "possibly lost" for Valgrind.
    """
    return error.findtext("kind") == "Leak_PossiblyLost" and any(
        frame.findtext("fn") == "_dl_allocate_tls"
        for frame in error.iter("frame"))


def _blocks(error: ElementTree.Element) -> int:
    return int(error.findtext("xwhat/leakedblocks") or 0)


def _is_atomic(error: ElementTree.Element) -> bool:
    """Whether Helgrind took an atomic access for a race."""
    return error.findtext("kind") == "Race" and any(
        _ATOMIC_CALL.search(frame.findtext("fn") or "") or
        _on_atomic_line(frame)
        for stack in error.findall("stack")
        for frame in stack.findall("frame")[:1])


def _on_atomic_line(frame: ElementTree.Element) -> bool:
    source = Path(frame.findtext("dir") or ".", frame.findtext("file") or "")
    number = int(frame.findtext("line") or 0)
    if not number or not source.is_file():
        return False
    text = _COMMENT.sub(lambda found: "\n" * found[0].count("\n"),
                        source.read_text(errors="replace"))
    lines = text.splitlines()
    here = lines[number - 1] if number <= len(lines) else ""
    return bool(_ATOMIC_CALL.search(here)) or bool(
        set(_ATOMIC_NAME.findall(text)) & set(re.findall(r"\w+", here)))


def _finding(error: ElementTree.Element, own: Path | None) -> Finding:
    what = error.findtext("what") or error.findtext("xwhat/text") or ""
    frames = [_frame(frame) for stack in error.findall("stack")[:1]
              for frame in stack.findall("frame")]
    place = ""
    for text, folder, file in frames:
        if file and (own is None or Path(folder or ".") == own):
            place = text
            break
    if not place:
        place = next((text for text, folder, file in frames
                      if file and not (folder or "").startswith("./")), "")
    return Finding(error.findtext("kind") or "", what, place,
                   tuple(text for text, _, _ in frames))


def _frame(frame: ElementTree.Element) -> tuple[str, str | None, str | None]:
    function = frame.findtext("fn") or "?"
    file, line = frame.findtext("file"), frame.findtext("line")
    text = f"{file}:{line} in {function}()" if file else f"{function}()"
    return text, frame.findtext("dir"), file
