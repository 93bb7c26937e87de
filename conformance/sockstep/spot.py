"""Where in its source a thread is: "server.c:42 in serve()".

The kernel tells where a thread that is blocked or stopped has its program
counter and its stack (proc(5), /proc/PID/task/TID/syscall); in a call of the
C library it is the address that the call returns to which is looked for.
addr2line(1), which comes with the compiler, knows the line.  What can't be
known is not told: the answer is '' then.
"""
from __future__ import annotations

import contextlib
import os
import platform
import re
import select
import shutil
import signal
import struct
import subprocess
from collections import Counter
from dataclasses import dataclass

from . import procfs

#: Threads whose places are told.
MOST_THREADS = 3
#: Words of the stack that are looked at, and calls on it: what lies deeper may
#: be left from a call that is over.
_WORDS, _RETURNS = 32, 3
#: How often a program that spins is looked at, and the pause in between, in
#: seconds.
_LOOKS, _PAUSE = 15, 0.002
_STOP_SECONDS = 1.0
_ET_DYN = 3


@dataclass(frozen=True)
class _Code:
    """The program's own code: where it lies, and in which file."""

    file: str
    start: int
    end: int
    offset: int                 # in the file

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end


def of(pid: int, tid: int) -> str:
    """Where the thread, which is blocked or stopped, is; or ''."""
    words = procfs.syscall(pid, tid)
    code = _code_of(pid)
    if code is None or len(words) < 3:
        return ""
    stack, counter = int(words[-2], 16), int(words[-1], 16)
    inside = [counter] if counter in code else []
    for address in [*inside, *_returns(pid, stack, code)]:
        if line := _line(code, address):
            return line
    return ""


def of_spin(pids: list[int]) -> tuple[str, str]:
    """Where a program that spins is most of the time: a clause, and a line
    for each place.

    Its busiest process is stopped for a moment again and again.
    """
    if not pids:
        return "", ""
    pid = max(pids, key=procfs.cpu_seconds)
    seen: Counter[tuple[str, str]] = Counter()
    for _ in range(_LOOKS):
        seen[_look(pid)] += 1
        select.poll().poll(_PAUSE * 1000)
    del seen["", ""]
    if not seen:
        return "", ""
    # The line first: a loop around a call is met in the call and beside it.
    lines: Counter[str] = Counter()
    for (_call, place), number in seen.items():
        lines[place] += number
    most, _ = lines.most_common(1)[0]
    call = next((call for (call, place), _ in seen.most_common()
                 if call and place == most), "")
    return f", mostly {_told(call, most)}", "\n".join(
        f"{number} of {_LOOKS} looks: {_told(*found)}"
        for found, number in seen.most_common(4))


def _told(call: str, place: str) -> str:
    return " ".join(filter(None, [f"in {call}()" if call else "",
                                  f"at {place}" if place else ""]))


def _look(pid: int) -> tuple[str, str]:
    """In which call and at which line the thread of the process that has run
    most is right now.
    """
    try:
        os.kill(pid, signal.SIGSTOP)
    except (ProcessLookupError, PermissionError):
        return "", ""
    try:
        if not _stops(pid):
            return "", ""
        tid = max(procfs.threads(pid), default=pid,
                  key=lambda each: procfs.thread_ticks(pid, each))
        wait, place = procfs.wait_of(pid, tid), of(pid, tid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return wait.name if wait else "", place


def _stops(pid: int) -> bool:
    """Wait until every thread of the process has stopped."""
    pause = 0.0
    while pause < _STOP_SECONDS:
        states = {procfs.thread_state(pid, tid) for tid in procfs.threads(pid)}
        if states <= {"T", "t"}:
            return bool(states)
        if states & {"Z", "X", ""}:
            return False
        select.poll().poll(pause * 1000)
        pause = pause * 2 + 0.0001
    return False


def _code_of(pid: int) -> _Code | None:
    """The executable part of the program's own file."""
    try:
        file = os.readlink(f"/proc/{pid}/exe")
        with open(f"/proc/{pid}/maps", encoding="utf-8",
                  errors="replace") as lines:
            for line in lines:
                place, rights, offset, _device, _inode, *name = line.split(
                    maxsplit=5)
                if "x" in rights and name and name[0].strip() == file:
                    start, end = (int(part, 16) for part in place.split("-"))
                    return _Code(file, start, end, int(offset, 16))
    except OSError:                         # gone, or not allowed to look
        return None
    return None


def _returns(pid: int, stack: int, code: _Code) -> list[int]:
    """The addresses behind the program's last calls, which lie on the stack.

    A number there that leads into the program's code is one if the
    instruction before it is a call.  More than one is of use only where the
    C library is a part of the program.
    """
    if platform.machine() != "x86_64":
        return []
    words = procfs.memory(pid, stack, 8 * _WORDS)
    return [address - 1 for address in
            (struct.unpack(f"{_WORDS}Q", words) if words else ())
            if address - 7 in code and
            _is_call(procfs.memory(pid, address - 7, 7))][:_RETURNS]


def _is_call(before: bytes | None) -> bool:
    """Whether these bytes end with a call: E8, or FF with a 2 in the middle
    of its second byte (Intel SDM, volume 2, CALL).
    """
    return before is not None and (before[2] == 0xe8 or any(
        before[-length] == 0xff and before[1 - length] >> 3 & 7 == 2
        for length in (2, 3, 6, 7)))


def _line(code: _Code, address: int) -> str:
    """"server.c:42 in serve()" by addr2line(1), or ''."""
    tool = shutil.which("addr2line")
    found = _in_file(code, address)
    if tool is None or found is None:
        return ""
    try:
        run = subprocess.run([tool, "-f", "-i", "-e", code.file, hex(found)],
                             capture_output=True, text=True, timeout=10,
                             check=False)
    except subprocess.TimeoutExpired:
        return ""
    # Function and file in turn; what was inlined stands first, and may be of
    # a header of the system's.
    lines = run.stdout.splitlines()
    for function, file in zip(lines[::2], lines[1::2]):
        place = re.match(r"(?:.*/)?([^/:?]+:[1-9]\d*)", file)
        if place and not file.startswith("/usr/"):
            return f"{place[1]} in {function}()"
    return ""


def _in_file(code: _Code, address: int) -> int | None:
    """The address as the file has it: elf(5), PT_LOAD."""
    try:
        with open(code.file, "rb") as file:
            head = file.read(64)
            if head[:5] != b"\x7fELF\2":
                return None
            if struct.unpack_from("H", head, 16)[0] != _ET_DYN:
                return address
            table, = struct.unpack_from("Q", head, 32)
            size, number = struct.unpack_from("HH", head, 54)
            file.seek(table)
            entries = file.read(size * number)
    except OSError:
        return None
    where = address - code.start + code.offset
    for at in range(0, len(entries) - 55, size):
        kind, _flags, offset, virtual, _physical, length = \
            struct.unpack_from("IIQQQQ", entries, at)
        if kind == 1 and offset <= where < offset + length:
            return where - offset + virtual
    return None
