"""What /proc says of a process: state, threads, calls, descriptors.

Source: proc(5).  A process that is gone is no error here: the answer is then
empty, since a program may end between any two looks at it.
"""
from __future__ import annotations

import ctypes
import os
import platform
import re
import signal
import socket
import struct
from dataclasses import dataclass

# Calls in which a thread may wait for ever without being woken by anything
# but input, a signal or a timer.  Number, name, and the index of the argument
# that holds a timeout (None: the call has none).
_X86_64 = {
    0: ("read", None), 1: ("write", None), 2: ("open", None),   # of a FIFO
    3: ("close", "always"), 257: ("openat", None),
    7: ("poll", 2),
    19: ("readv", None), 20: ("writev", None), 23: ("select", 4),
    34: ("pause", None), 35: ("nanosleep", "always"),
    40: ("sendfile", None), 42: ("connect", None), 43: ("accept", None),
    44: ("sendto", None), 45: ("recvfrom", None), 46: ("sendmsg", None),
    47: ("recvmsg", None), 61: ("wait4", None), 72: ("fcntl", None),
    73: ("flock", None), 128: ("rt_sigtimedwait", 2),
    130: ("rt_sigsuspend", None), 202: ("futex", "futex"),
    219: ("restart_syscall", "always"),
    230: ("clock_nanosleep", "always"), 232: ("epoll_wait", 3),
    247: ("waitid", None), 270: ("pselect6", 4), 271: ("ppoll", 2),
    275: ("splice", None), 281: ("epoll_pwait", 3), 288: ("accept4", None),
    299: ("recvmmsg", 4), 307: ("sendmmsg", None),
    426: ("io_uring_enter", "ring"), 441: ("epoll_pwait2", 3),
    449: ("futex_waitv", 3),
}
_AARCH64 = {
    56: ("openat", None),                   # of a FIFO: fifo(7)
    57: ("close", "always"),                # it lingers: socket(7)
    63: ("read", None), 64: ("write", None), 65: ("readv", None),
    66: ("writev", None), 71: ("sendfile", None), 72: ("pselect6", 4),
    73: ("ppoll", 2), 76: ("splice", None), 22: ("epoll_pwait", 3),
    95: ("waitid", None), 98: ("futex", "futex"),
    101: ("nanosleep", "always"), 115: ("clock_nanosleep", "always"),
    128: ("restart_syscall", "always"), 133: ("rt_sigsuspend", None),
    137: ("rt_sigtimedwait", 2), 202: ("accept", None),
    203: ("connect", None), 206: ("sendto", None), 207: ("recvfrom", None),
    211: ("sendmsg", None), 212: ("recvmsg", None), 242: ("accept4", None),
    243: ("recvmmsg", 4), 260: ("wait4", None), 269: ("sendmmsg", None),
    426: ("io_uring_enter", "ring"), 441: ("epoll_pwait2", 3),
    449: ("futex_waitv", 3),
}
_WAITING_CALLS = {"x86_64": _X86_64, "aarch64": _AARCH64}.get(
    platform.machine(), {})

#: Calls whose first argument is the descriptor that is waited for.
_ON_DESCRIPTOR = {"read", "write", "readv", "writev", "connect", "accept",
                  "accept4", "sendto", "recvfrom", "sendmsg", "recvmsg",
                  "recvmmsg", "sendmmsg", "fcntl", "flock", "close"}
#: What a call is without the argument of that index.
_PLAIN = {"recvfrom": ("recv", 4), "sendto": ("send", 4),
          "ppoll": ("poll", 3), "epoll_pwait": ("epoll_wait", 4)}
_MINUS_ONE = (0xffffffff, 0xffffffffffffffff)


def supported() -> bool:
    """Whether this machine's call numbers are known."""
    return bool(_WAITING_CALLS)


def _read(path: str, size: int = 1 << 14) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return ""
    try:
        return os.read(fd, size).decode(errors="replace")
    except ProcessLookupError:
        return ""
    finally:
        os.close(fd)


@dataclass(frozen=True)
class Stat:
    """Fields of /proc/PID/stat."""

    pid: int
    name: str
    state: str                  # R S D T t Z X ...
    parent: int
    group: int
    session: int
    cpu_ticks: int              # user and system time, dead children excluded
    started: int                # ticks since boot: tells reused pids apart


def stat(pid: int) -> Stat | None:
    """The process's facts, or None when it is gone."""
    text = _read(f"/proc/{pid}/stat")
    if not text:
        return None
    name_end = text.rindex(")")
    fields = text[name_end + 2:].split()
    return Stat(pid, text[text.index("(") + 1:name_end], fields[0],
                int(fields[1]), int(fields[2]), int(fields[3]),
                int(fields[11]) + int(fields[12]), int(fields[19]))


def tasks_of_machine() -> int:
    """Processes and threads of the whole machine, as far as it shows them."""
    return int(_read("/proc/loadavg").split()[3].split("/")[1])


def cpu_seconds(pid: int) -> float:
    """Processor time that the process has used so far, in seconds."""
    facts = stat(pid)
    return facts.cpu_ticks / os.sysconf("SC_CLK_TCK") if facts else 0.0


def threads(pid: int) -> list[int]:
    try:
        return [int(tid) for tid in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return []


def children(pid: int) -> list[int]:
    """The process's living and zombie children."""
    found = []
    for tid in threads(pid):
        found += map(int, _read(f"/proc/{pid}/task/{tid}/children").split())
    return found


def descendants(pid: int) -> list[int]:
    """All living and zombie processes below `pid`, parents first."""
    found, queue = [], [pid]
    while queue:
        below = children(queue.pop(0))
        found += below
        queue += below
    return found


def has_had_children(pid: int) -> bool:
    """Whether the process has children, had some, or lets them go unseen.

    What it has waited for shows in its count of their page faults; who
    ignores SIGCHLD need not wait: wait(2).
    """
    text = _read(f"/proc/{pid}/stat")
    faults = text[text.rindex(")") + 2:].split()[8] if text else "0"
    ignored = re.search(r"^SigIgn:\s*(\w+)", _read(f"/proc/{pid}/status"),
                        re.MULTILINE)
    return faults != "0" or bool(children(pid)) or bool(
        ignored and int(ignored[1], 16) >> (signal.SIGCHLD - 1) & 1)


def has_tasks(pid: int, number: int) -> bool:
    """Whether there are more than `number` threads below `pid`."""
    found, queue = 0, [pid]
    while queue and found <= number:
        for child in children(queue.pop()):
            found += len(threads(child))
            queue.append(child)
    return found > number


@dataclass(frozen=True)
class Wait:
    """What a blocked thread waits in."""

    pid: int
    tid: int
    call: str
    fd: int | None              # the descriptor, for calls that name one
    timed: bool                 # ends by itself when a timer runs out
    arguments: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The call as a program in C has it, where the C library makes it by
        another one: recv(2) is recvfrom(2) without an address, and poll(2) may
        be ppoll(2) without a mask.
        """
        if self.call == "pselect6":
            return "select"
        plain, number = _PLAIN.get(self.call, (self.call, 0))
        return plain if self.arguments[number:number + 1] == (0,) \
            else self.call

    def __str__(self) -> str:
        if " " in self.call:                # no call: "a stop by a signal"
            return self.call
        return f"{self.name}(fd {self.fd})" if self.fd is not None \
            else f"{self.name}()"


def syscall(pid: int, tid: int) -> list[str]:
    """The words of /proc/PID/task/TID/syscall: the call's number (-1 outside
    of one), its arguments, the stack's and the program's position.
    """
    return _read(f"/proc/{pid}/task/{tid}/syscall").split()


def wait_of(pid: int, tid: int) -> Wait | None:
    """The call that the thread is blocked in; None while it may run.

    Of a stopped thread it is the call that it was in, or has just left.
    """
    words = syscall(pid, tid)
    if len(words) < 7:                      # "running", or gone
        return None
    number = int(words[0])
    if number not in _WAITING_CALLS:
        return None
    name, timeout = _WAITING_CALLS[number]
    arguments = [int(word, 16) for word in words[1:7]]
    if timeout is None:
        timed = False
    elif timeout == "always":
        timed = True
    elif timeout == "futex":                # a timeout only where one waits
        timed = arguments[1] & 0x7f in (0, 6, 9, 11) and arguments[3] != 0
    elif timeout == "ring":                 # IORING_ENTER_EXT_ARG has the time
        timed = arguments[3] & 8 != 0
    elif name in ("poll", "epoll_wait", "epoll_pwait"):
        timed = arguments[timeout] not in _MINUS_ONE and \
            not arguments[timeout] & 0x80000000
    else:                                   # a pointer to a time
        timed = arguments[timeout] != 0
    fd = arguments[0] & 0x7fffffff if name in _ON_DESCRIPTOR else None
    return Wait(pid, tid, name, fd, timed, tuple(arguments))


def memory(pid: int, address: int, size: int) -> bytes | None:
    """What lies at an address of the process; None if it can't be read."""
    if not 0 < address < 1 << 63:
        return None
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
            found = os.pread(file.fileno(), size, address)
    except OSError:                         # gone, forbidden, or not there
        return None
    return found if len(found) == size else None


def fdinfo(pid: int, fd: int) -> str:
    """What the kernel tells of a descriptor; '' when there is none."""
    return _read(f"/proc/{pid}/fdinfo/{fd}", 1 << 20)


# The same number on every architecture.
_SYS_PIDFD_GETFD = 438          # pidfd_getfd(2)
_SYS_IO_URING_SETUP = 425       # io_uring_setup(2)


def lacks_io_uring() -> str:
    """Why a program can't use io_uring(7) here, or ''."""
    parameters = ctypes.create_string_buffer(120)   # struct io_uring_params
    fd = ctypes.CDLL(None, use_errno=True).syscall(
        _SYS_IO_URING_SETUP, 1, parameters)
    if fd == -1:
        return os.strerror(ctypes.get_errno())
    os.close(fd)
    return ""


def time_wait_is_full() -> bool:
    """Whether connections may end without TIME_WAIT, since there are so many.

    tcp(7), tcp_max_tw_buckets; a twentieth is left for what others close.
    """
    words = _read("/proc/net/sockstat").split()
    most = int(_read("/proc/sys/net/ipv4/tcp_max_tw_buckets"))
    return int(words[words.index("tw") + 1]) >= most * 0.95


def duplicate(pid: int, fd: int) -> socket.socket | None:
    """The process's own socket once more, to be asked and closed again.

    None: it is gone, it is no socket, or the kernel forbids it.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(
            _SYS_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if copy == -1:
        return None
    try:
        return socket.socket(fileno=copy)
    except OSError:                         # no socket
        os.close(copy)
        return None


def has_socket_timeout(wait: Wait) -> bool:
    """Whether the socket that is waited for has a time limit of its own.

    SO_RCVTIMEO and SO_SNDTIMEO (socket(7)) do not show in the call's
    arguments: the socket is asked.
    """
    sock = duplicate(wait.pid, wait.fd) if wait.fd is not None else None
    if sock is None:
        return False
    with sock:
        return any(any(struct.unpack("qq", sock.getsockopt(
            socket.SOL_SOCKET, option, 16)))
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO))


def has_timer(pid: int, handlers: bool = True) -> bool:
    """Whether the process may be woken by a timer that no call shows.

    The kernel tells of timers of timer_create(2) and of timerfd_create(2),
    but not of alarm(2) and setitimer(2): a process that catches SIGALRM is
    taken to have set one if its `handlers` are its own (Valgrind catches
    every signal).  Source: proc(5).
    """
    if "ID:" in _read(f"/proc/{pid}/timers"):
        return True
    for line in _read(f"/proc/{pid}/status").splitlines():
        if handlers and line.startswith("SigCgt:") and \
                int(line.split()[1], 16) >> (signal.SIGALRM - 1) & 1:
            return True
    return any(_timer_is_set(fdinfo(pid, fd))
               for fd, target in descriptors(pid).items()
               if target == "anon_inode:[timerfd]")


def _timer_is_set(info: str) -> bool:
    return "it_value:" in info and "it_value: (0, 0)" not in info


def turns(pid: int, tid: int) -> str:
    """A text that changes whenever the thread has run on a processor."""
    return _read(f"/proc/{pid}/task/{tid}/schedstat") or \
        _read(f"/proc/{pid}/task/{tid}/status")


def _thread_facts(pid: int, tid: int) -> list[str]:
    """The fields of its stat behind the name: state, parent ...; [] if gone."""
    text = _read(f"/proc/{pid}/task/{tid}/stat")
    return text[text.rindex(")") + 2:].split() if text else []


def thread_state(pid: int, tid: int) -> str:
    return "".join(_thread_facts(pid, tid)[:1])


_PF_IO_WORKER = 0x10


def is_io_worker(pid: int, tid: int) -> bool:
    """Whether the kernel made that thread, for io_uring(7).

    It is in no call of its own, but may show the one in which it was made,
    with that one's time limit.  It sleeps where what it was asked for would
    block, and for seconds with nothing to do.  Source: proc(5), the field
    flags; linux/sched.h.
    """
    if tid == pid:
        return False
    facts = _thread_facts(pid, tid)
    return bool(facts and int(facts[6]) & _PF_IO_WORKER)


def thread_ticks(pid: int, tid: int) -> int:
    """Processor time that the thread has used so far, in ticks."""
    return sum(map(int, _thread_facts(pid, tid)[11:13]))


def thread_name(pid: int, tid: int) -> str:
    return _read(f"/proc/{pid}/task/{tid}/comm").strip()


def descriptors(pid: int) -> dict[int, str]:
    """Open descriptors and what they lead to, as readlink(2) tells."""
    found = {}
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except (FileNotFoundError, ProcessLookupError):
        return found
    for name in names:
        try:
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def inode(pid: int, fd: int) -> int:
    """The inode that the descriptor leads to; 0 when there is none."""
    try:
        return os.stat(f"/proc/{pid}/fd/{fd}").st_ino
    except OSError:                         # gone, or nothing can be asked
        return 0


def exe(pid: int) -> str:
    """The path of the file that the process runs."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def maps(pid: int) -> str:
    """The files that lie in the process's memory, among other lines."""
    try:
        with open(f"/proc/{pid}/maps", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def socket_inodes(pid: int) -> dict[int, int]:
    """The inode of each socket among the process's descriptors, by inode."""
    found = {}
    for fd, target in descriptors(pid).items():
        if target.startswith("socket:["):
            found[int(target[8:-1])] = fd
    return found


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
