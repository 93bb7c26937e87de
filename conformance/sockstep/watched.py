"""What a blocked call waits for, where its arguments only point to it.

poll(2) and select(2) find their descriptors in the program's memory, which
its parent may read; what is in an epoll set stands in /proc/PID/fdinfo.  All
of this holds while the thread stays blocked in that call.  What may not be
read, or makes no sense, is not told: the answer is None then, or ''.
Source: proc(5), poll(2), select(2), epoll(7), futex(2).
"""
from __future__ import annotations

import re
import select
import struct
from dataclasses import dataclass

from . import procfs
from .procfs import Wait

#: Descriptors in one call that are looked at.
_MOST = 1 << 16
_ROOM = select.POLLOUT | select.POLLWRNORM | select.POLLWRBAND
_INPUT = select.POLLIN | select.POLLRDNORM | select.POLLRDBAND | \
    select.POLLPRI
_IN_SET = re.compile(r"^tfd:\s*(\d+) +events:\s*([0-9a-f]+) .*\bino:([0-9a-f]+)",
                     re.MULTILINE)
_FUTEX_PRIVATE, _FUTEX_REALTIME, _FUTEX_WAIT, _FUTEX_WAIT_BITSET = \
    0x80, 0x100, 0, 9
_TIMER_ABSTIME = 1


@dataclass(frozen=True)
class Watched:
    """A descriptor that poll(2) or one of its kin waits for."""

    fd: int
    input: bool
    room: bool                  # neither: for an error or a hang-up
    inode: int = 0              # of what was put into an epoll set


def descriptors(wait: Wait) -> list[Watched] | None:
    """The descriptors that the call waits for, or None."""
    read = {"poll": _of_poll, "ppoll": _of_poll, "select": _of_select,
            "pselect6": _of_select, "epoll_wait": _of_epoll,
            "epoll_pwait": _of_epoll, "epoll_pwait2": _of_epoll}.get(wait.call)
    found = read(wait) if read else None
    return found if found is not None and _goes_on(wait) else None


def _goes_on(wait: Wait) -> bool:
    """Whether the thread is in that call still: else it was another's memory
    that was read.
    """
    return procfs.wait_of(wait.pid, wait.tid) == wait


def _of_poll(wait: Wait) -> list[Watched] | None:
    address, number = wait.arguments[:2]
    if number > _MOST:
        return None
    entries = procfs.memory(wait.pid, address, 8 * number) if number else b""
    if entries is None:
        return None
    return _open_ones(wait, [
        Watched(fd, bool(events & _INPUT), bool(events & _ROOM))
        for fd, events, _found in struct.iter_unpack("ihh", entries)
        if fd >= 0])


def _of_select(wait: Wait) -> list[Watched] | None:
    number = wait.arguments[0]
    if number > _MOST:
        return None
    size = (number + 63) // 64 * 8          # a set is made of longs
    sets: list[int] = []
    for address in wait.arguments[1:4]:
        bits = procfs.memory(wait.pid, address, size) \
            if address and size else b""
        if bits is None:
            return None
        sets.append(int.from_bytes(bits, "little") & (1 << number) - 1)
    # What comes out of band is input, too.
    input_, room = sets[0] | sets[2], sets[1]
    return _open_ones(wait, [
        Watched(fd, bool(input_ >> fd & 1), bool(room >> fd & 1))
        for fd in range((input_ | room).bit_length())
        if (input_ | room) >> fd & 1])


def _open_ones(wait: Wait, found: list[Watched]) -> list[Watched] | None:
    """`found`, or None: no call waits for a descriptor that is not open."""
    known = procfs.descriptors(wait.pid)
    return found if all(each.fd in known for each in found) else None


def _of_epoll(wait: Wait) -> list[Watched] | None:
    text = procfs.fdinfo(wait.pid, wait.arguments[0])
    if "\ntfd:" not in text and procfs.descriptors(wait.pid).get(
            wait.arguments[0]) != "anon_inode:[eventpoll]":
        return None
    found = []
    for fd, events, inode in _IN_SET.findall(text):
        mask = int(events, 16)
        found.append(Watched(int(fd), bool(mask & _INPUT),
                             bool(mask & _ROOM), int(inode, 16)))
    # The kernel has them in an order of its own.
    return sorted(found, key=lambda each: (each.fd, each.inode))


def lock(wait: Wait) -> str:
    """The call of glibc's that waits in this futex(2), or ''.

    Told by how glibc uses the call; another C library does it in other ways.
    """
    address, operation, value = wait.arguments[:3]
    limit = wait.arguments[3]
    threads = procfs.threads(wait.pid)
    if operation == _FUTEX_WAIT_BITSET | _FUTEX_REALTIME and \
            value in threads and not limit:
        # The kernel wakes it when the thread ends: its number becomes 0.
        return "pthread_join() for a thread to end"
    if operation == _FUTEX_WAIT | _FUTEX_PRIVATE and value == 2:
        # pthread_mutex_t: the lock, a count, the thread that holds it.
        words = procfs.memory(wait.pid, address, 12)
        holder = struct.unpack("3i", words)[2] if words else 0
        if holder == wait.tid and _goes_on(wait):
            return "pthread_mutex_lock() for a mutex that this thread holds"
        if holder in threads and _goes_on(wait):
            return "pthread_mutex_lock() for a mutex that another thread " \
                "holds"
    if operation == _FUTEX_WAIT_BITSET | _FUTEX_REALTIME | _FUTEX_PRIVATE \
            and value == 0 and not limit:
        return "pthread_cond_wait() or sem_wait()"
    return ""


def seconds(wait: Wait) -> float | None:
    """How long the call waits at the most, from its beginning; None if it
    has no limit or can't be asked.
    """
    if not wait.timed:
        return None
    if wait.call in ("poll", "epoll_wait", "epoll_pwait"):
        return wait.arguments[2 if wait.call == "poll" else 3] / 1000
    pointers = {"nanosleep": 0, "ppoll": 2, "select": 4, "pselect6": 4,
                "epoll_pwait2": 3, "rt_sigtimedwait": 2}
    if wait.call == "clock_nanosleep" and \
            not wait.arguments[1] & _TIMER_ABSTIME:
        pointers["clock_nanosleep"] = 2
    if wait.call not in pointers:
        return None
    words = procfs.memory(wait.pid, wait.arguments[pointers[wait.call]], 16)
    if words is None or not _goes_on(wait):
        return None
    whole, part = struct.unpack("qq", words)
    part *= 1000 if wait.call == "select" else 1        # microseconds
    return whole + part / 1e9 if whole >= 0 and 0 <= part < 10 ** 9 else None
