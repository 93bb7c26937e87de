"""procfs: what /proc says of processes and threads, proc(5)."""
from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sockstep import confine, procfs

_HEAD = """
import os, select, signal, socket, struct, threading, time
pair = socket.socketpair()
server = socket.create_server(("127.0.0.1", 0))
"""


@pytest.fixture
def run() -> Iterator[Callable]:
    """Start a Python script; it and its children are ended after the test."""
    started = []

    def start(body: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _HEAD + body],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:  # else the group may be another's now
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def words(process: subprocess.Popen) -> list[int]:
    """The numbers on the next line of the program's output."""
    return [int(word) for word in process.stdout.readline().split()]


# body, calls that it may be in (C libraries differ), timed, names a descriptor
_WAITS = {
    "read": ("os.read(0, 1)", "read", False, True),
    "accept": ("server.accept()", "accept accept4", False, True),
    "recv": ("pair[0].recv(1)", "recvfrom", False, True),
    "recvmsg": ("pair[0].recvmsg(1)", "recvmsg", False, True),
    "send": ("while True: pair[0].send(bytes(4096))", "sendto", False, True),
    "poll": ("p = select.poll(); p.register(0); p.modify(0, 0); p.poll()",
             "poll ppoll", False, False),
    "poll-timeout": ("select.poll().poll(600_000)", "poll ppoll", True,
                     False),
    "select": ("select.select([0], [], [])", "select pselect6", False, False),
    "select-timeout": ("select.select([0], [], [], 600)", "select pselect6",
                       True, False),
    "epoll": ("select.epoll().poll()", "epoll_wait epoll_pwait", False,
              False),
    "epoll-timeout": ("select.epoll().poll(600)", "epoll_wait epoll_pwait",
                      True, False),
    "nanosleep": ("time.sleep(600)", "nanosleep clock_nanosleep", True,
                  False),
    "futex": ("k = threading.Lock(); k.acquire(); k.acquire()", "futex",
              False, False),
    "futex-timeout": ("k = threading.Lock(); k.acquire(); "
                      "k.acquire(timeout=600)", "futex", True, False),
    "wait": ("if os.fork() == 0: signal.pause()\nos.wait()", "wait4", False,
             False),
    "waitid": ("if os.fork() == 0: signal.pause()\n"
               "os.waitid(os.P_ALL, 0, os.WEXITED)", "waitid", False, False),
    "pause": ("signal.pause()", "pause ppoll", False, False),
    "sigwait": ("signal.sigwait({signal.SIGUSR1})", "rt_sigtimedwait", False,
                False),
    "sigwait-timeout": ("signal.sigtimedwait({signal.SIGUSR1}, 600)",
                        "rt_sigtimedwait", True, False),
}


@pytest.mark.parametrize(("body", "calls", "timed", "names_fd"),
                         _WAITS.values(), ids=_WAITS)
def test_wait_of(run: Callable, until: Callable, body: str, calls: str,
                 timed: bool, names_fd: bool) -> None:
    process = run(body)
    pid = process.pid

    def waits() -> procfs.Wait | None:
        found = procfs.wait_of(pid, pid)
        return found if found and found.call in calls.split() and (
            # Python itself reads files before that.
            found.call != "read" or found.fd == 0) else None

    wait = until(waits)
    assert wait.timed is timed
    assert (wait.fd is not None) is names_fd
    assert str(wait) == (f"{wait.name}(fd {wait.fd})" if names_fd
                         else f"{wait.name}()")


def test_the_descriptor_of_a_wait(run: Callable, until: Callable) -> None:
    process = run("print(server.fileno(), flush=True)\nserver.accept()")
    fd, = words(process)
    wait = until(lambda: (found := procfs.wait_of(process.pid, process.pid))
                 and found.call.startswith("accept") and found)
    assert wait.fd == fd
    assert wait.fd in procfs.socket_inodes(process.pid).values()


@pytest.mark.parametrize(("option", "limited"), [
    ("", False), ("SO_RCVTIMEO", True), ("SO_SNDTIMEO", True)])
def test_the_time_limit_of_a_socket(run: Callable, until: Callable,
                                    option: str, limited: bool) -> None:
    process = run((f"pair[0].setsockopt(socket.SOL_SOCKET, socket.{option}, "
                   "struct.pack('ll', 600, 0))\n" if option else "")
                  + "pair[0].recv(1)")
    wait = until(lambda: (found := procfs.wait_of(process.pid, process.pid))
                 and found.call == "recvfrom" and found)
    assert not wait.timed               # the call's arguments do not say it
    assert procfs.has_socket_timeout(wait) is limited


def test_what_is_no_socket_has_no_time_limit(run: Callable, until: Callable
                                             ) -> None:
    process = run("os.read(0, 1)")
    wait = until(lambda: (found := procfs.wait_of(process.pid, process.pid))
                 and found.fd == 0 and found)
    assert not procfs.has_socket_timeout(wait)


@pytest.mark.parametrize(("body", "set_one"), [
    ("", False),
    ("signal.signal(signal.SIGUSR1, print)\n", False),
    ("signal.signal(signal.SIGALRM, print)\nsignal.alarm(600)\n", True),
    ("import ctypes\nlibc = ctypes.CDLL(None)\n"
     "libc.timerfd_create(1, 0)\n", False),
    ("import ctypes\nlibc = ctypes.CDLL(None)\n"
     "fd = libc.timerfd_create(1, 0)\n"
     "libc.timerfd_settime(fd, 0, struct.pack('4q', 0, 0, 600, 0), None)\n",
     True),
])
def test_the_timer_of_a_process(run: Callable, until: Callable, body: str,
                                set_one: bool) -> None:
    process = run(body + "pair[0].recv(1)")
    until(lambda: (found := procfs.wait_of(process.pid, process.pid))
          and found.call == "recvfrom")
    assert procfs.has_timer(process.pid) is set_one


def test_a_thread_that_runs_waits_in_nothing(run: Callable) -> None:
    process = run("print(1, flush=True)\nwhile True: pass")
    words(process)
    looks = [procfs.wait_of(process.pid, process.pid) for _ in range(200)]
    assert looks == [None] * 200


def test_each_thread_is_looked_at(run: Callable, until: Callable) -> None:
    process = run("threading.Thread(target=lambda: os.read(0, 1)).start()\n"
                  "threading.Thread(target=server.accept).start()\n"
                  "time.sleep(600)")
    pid = process.pid

    def calls() -> list[str]:
        waits = [procfs.wait_of(pid, tid) for tid in procfs.threads(pid)]
        return sorted(wait.call.removeprefix("clock_").removesuffix("4")
                      for wait in waits if wait)

    until(lambda: calls() == ["accept", "nanosleep", "read"])


def test_turns_change_only_where_a_thread_ran(run: Callable, until: Callable
                                              ) -> None:
    process = run("while True: os.read(0, 1); print(1, flush=True)")
    pid = process.pid
    until(lambda: (wait := procfs.wait_of(pid, pid)) and wait.fd == 0)
    before = procfs.turns(pid, pid)
    assert before and procfs.turns(pid, pid) == before
    process.stdin.write(b"x")
    process.stdin.flush()
    words(process)
    assert procfs.turns(pid, pid) != before


def test_a_process_that_is_gone(run: Callable) -> None:
    process = run("")
    process.wait()
    pid = process.pid
    assert procfs.stat(pid) is None
    assert procfs.threads(pid) == []
    assert procfs.descendants(pid) == []
    assert procfs.descriptors(pid) == {}
    assert procfs.wait_of(pid, pid) is None
    assert procfs.thread_state(pid, pid) == ""
    assert procfs.cpu_seconds(pid) == 0.0


def test_descendants_and_zombies(run: Callable, until: Callable) -> None:
    """The child is a parent too; one of its children is a zombie."""
    process = run("""
if os.fork() == 0:
    zombie = os.fork()
    if zombie == 0:
        os._exit(0)
    grandchild = os.fork()
    if grandchild == 0:
        signal.pause()
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    print(os.getpid(), zombie, grandchild, flush=True)
signal.pause()
""")
    child, zombie, grandchild = words(process)
    found = procfs.descendants(process.pid)
    assert found[0] == child
    assert set(found[1:]) == {zombie, grandchild} and len(found) == 3
    assert procfs.stat(zombie).state == "Z"
    assert procfs.stat(grandchild).parent == child
    assert procfs.descendants(grandchild) == []


def test_the_child_of_a_thread_is_a_descendant(run: Callable) -> None:
    process = run("""
def fork():
    child = os.fork()
    if child == 0:
        signal.pause()
    print(child, flush=True)
    os.read(0, 1)
threading.Thread(target=fork).start()
""")
    child, = words(process)
    assert procfs.descendants(process.pid) == [child]


def test_tasks_are_counted_whatever_the_machine_does(
        run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cgroup: others that end meanwhile do not hide these."""
    monkeypatch.setenv(confine.CGROUPS_VARIABLE, "no")
    monkeypatch.setattr(confine, "MAX_TASKS", 20)
    limit = confine.TaskLimit()
    with monkeypatch.context() as busy:
        busy.setattr(procfs, "tasks_of_machine", lambda: 10_000)
        limit.reset()
    assert not limit.exceeded()
    process = run("for _ in range(20):\n"
                  "    threading.Thread(target=signal.pause).start()\n"
                  "print(1, flush=True)")
    words(process)
    assert limit.exceeded()


def test_the_next_program_may_fork() -> None:
    """No fork is let through while a program is ended, and then again."""
    limit = confine.TaskLimit()
    try:
        if limit.path is None:
            pytest.skip("no cgroup can be made here")
        limit.forbid_forks()
        with pytest.raises(BlockingIOError):
            subprocess.run(["true"], check=True)
        confine.end_all(lambda: [], limit)
        subprocess.run(["true"], check=True)
        assert not limit.exceeded()
    finally:
        limit.leave()


@pytest.mark.parametrize("most, full", [("1000", False), ("947", True),
                                        ("900", True), ("0", True)])
def test_time_wait_is_full(monkeypatch: pytest.MonkeyPatch, most: str,
                           full: bool) -> None:
    """A little before the kernel itself would say so."""
    files = {"/proc/net/sockstat": "sockets: used 17\nTCP: inuse 6 orphan 0 "
             "tw 900 alloc 6 mem 49\nUDP: inuse 0 mem 2\n",
             "/proc/sys/net/ipv4/tcp_max_tw_buckets": most + "\n"}
    monkeypatch.setattr(procfs, "_read", files.__getitem__)
    assert procfs.time_wait_is_full() is full


def test_a_name_with_blanks_and_brackets(tmp_path: Path, until: Callable
                                         ) -> None:
    program = tmp_path / "a) R 1 (b c"
    shutil.copy(shutil.which("cat"), program)
    process = subprocess.Popen([program], stdin=subprocess.PIPE)
    facts = procfs.stat(process.pid)
    assert facts.name == "a) R 1 (b c"
    assert facts.parent == os.getpid()
    assert facts.session == os.getsid(0)
    until(lambda: procfs.stat(process.pid).state == "S")
    assert procfs.thread_state(process.pid, process.pid) == "S"
    process.stdin.close()
    assert process.wait() == 0


def test_processor_time(run: Callable, until: Callable) -> None:
    spinner, sleeper = run("while True: pass"), run("os.read(0, 1)")
    until(lambda: (wait := procfs.wait_of(sleeper.pid, sleeper.pid))
          and wait.fd == 0)
    used = procfs.cpu_seconds(sleeper.pid)
    start = procfs.cpu_seconds(spinner.pid)
    until(lambda: procfs.cpu_seconds(spinner.pid) >= start + 0.05)
    assert procfs.cpu_seconds(sleeper.pid) == used


def test_own_descriptors() -> None:
    with socket.socket() as sock:
        inode = os.fstat(sock.fileno()).st_ino
        assert procfs.socket_inodes(os.getpid())[inode] == sock.fileno()
        assert procfs.descriptors(os.getpid())[sock.fileno()] == \
            f"socket:[{inode}]"
    assert inode not in procfs.socket_inodes(os.getpid())


def test_names_of_signals() -> None:
    assert procfs.signal_name(signal.SIGPIPE) == "SIGPIPE"
    assert procfs.signal_name(99) == "signal 99"
