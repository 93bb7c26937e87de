"""A server's place in the file system, and its peers: unix(7)."""
import errno
import itertools
import os
import re
import signal
import socket
import stat
from pathlib import Path

from sockstep.case import SHOULD, case
from sockstep.data import word
from sockstep.failure import Failure
from sockstep.listener import LOOPBACK
from sockstep.transcript import shorten
from sockstep.unix import address

GROUP = "Unix domain"
UNIX = dict(role="server", group=GROUP, transports=("unix",))
IN_USE = os.strerror(errno.EADDRINUSE)
#: sizeof(sun_path) on Linux: a path of so many bytes has no NUL there.
SUN_PATH = 108
#: A server of no program: it makes the file and is gone.
STALE = "python3 -c \"import socket; " \
    "socket.socket(socket.AF_UNIX).bind('PATH')\""
_numbers = itertools.count(1)


def long_path(stage, length):
    """A path of exactly `length` bytes."""
    start = stage.unix_path("p")
    return start + "x" * (length - len(start.encode()))


def leave_stale(path):
    """What a server leaves that was killed: a socket file, and nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(path)


def abstract_name():
    """An abstract name that nobody else has, as -U takes it."""
    return f"@sockstep.{os.getpid()}.{next(_numbers)}"


def names_of(server):
    """The names that the server listens at, as the kernel has them."""
    return [row.name for row in server.listening()]


def fails(server, why, *reasons):
    """The server ends with status 1 and says why."""
    server.expect_exit(1, why)
    server.stage.expect_complaint(*reasons, program=server.program)


def reached(server, what):
    """A new client that comes by the path is served by `server`."""
    server.stage.look_at(server.program)
    try:
        server.exchange()
    except Failure as failure:
        raise Failure(failure.kind, f"{what}: {failure.message}",
                      failure.detail, failure.mismatch) from None


@case("unix/longest-path", **UNIX, defects=(99,),
      source="unix(7), Pathname sockets: sun_path has 108 bytes, the NUL "
             "included",
      hints=["How many bytes of a path fit into sun_path together with its "
             "NUL?",
             "107: refuse a path only if strlen(path) >= "
             "sizeof(address.sun_path)."],
      by_hand="""
      cd /tmp; d=$(printf 'x%.0s' $(seq 100)); p=/tmp/$d   # 105 bytes
      SERVER -U ${p}ab      # must listen; ls -l shows the file""")
def test_longest_path(stage, launch_server):
    """A path of 107 bytes is taken as it is.

    That is the longest that fits into sun_path with its NUL. Who gives away
    more of the array than that one byte refuses paths that are right.
    """
    path = long_path(stage, SUN_PATH - 1)
    server = launch_server(path=path)
    found = names_of(server)[0].rstrip(b"\0")
    if found != os.fsencode(path):
        raise Failure("call", f"the path has {len(path)} bytes, and the "
                      f"server listens at one of {len(found)}")
    server.exchange()


@case("unix/path-too-long", **UNIX, defects=(99,),
      source="unix(7), Pathname sockets; bind(2); strncpy(3)",
      hints=["What does your program do with a path that has more bytes than "
             "sun_path?",
             "Compare strlen(path) with sizeof(address.sun_path) before you "
             "copy; say ENAMETOOLONG and end with status 1."],
      by_hand="""
      cd /tmp; SERVER -U $(printf 'x%.0s' $(seq 120)); echo $?
      # 1 is due, and ls must show no file named xxx...""")
def test_path_too_long(stage, launch_server):
    """A path that does not fit into sun_path is refused, with status 1.

    Cut off, it is the path of another file: the clients do not find the
    server, and two servers may meet at one path. (108 bytes without a NUL
    are a path for Linux, and for no other system: they may be refused too.)
    """
    for length in (SUN_PATH, SUN_PATH + 1, 200):
        path = long_path(stage, length)
        server = launch_server(path=path, ready=False)
        server.quiet()
        made = os.listdir(Path(path).parent)
        if length == SUN_PATH and made == [Path(path).name]:
            server.stage.end_in_order(server.program)
            Path(path).unlink(missing_ok=True)
            continue
        if made:
            raise Failure("call", f"told a path of {length} bytes, the server "
                          "made a file whose path has "
                          f"{len(str(Path(path).parent / made[0]))}")
        fails(server, f"a path of {length} bytes does not fit",
              os.strerror(errno.ENAMETOOLONG), os.strerror(errno.EINVAL))


@case("unix/no-folder", **UNIX, defects=(49,),
      source="bind(2), ENOENT",
      hints=["bind() makes the socket file. In which folder?",
             "Look at the result of bind(), say which path failed and why, "
             "and end with status 1; do not make folders."],
      by_hand="SERVER -U /nowhere/echo.sock; echo $?      # 1 is due")
def test_no_folder(stage, launch_server):
    """A path in a folder that is not there is refused, with status 1.

    Most such paths are mistakes in typing. Who starts the server must learn
    that nobody will find it.
    """
    path = stage.unix_path("nowhere") + "/socket"
    server = launch_server(path=path, ready=False)
    fails(server, "there is no such folder", os.strerror(errno.ENOENT))


@case("unix/abstract-name", **UNIX, defects=(103,),
      source="unix(7), Abstract sockets: the name is sun_path[1] and on, as "
             "long as the address length says; NULs have no special meaning",
      hints=["Where does an abstract name end, if not at a NUL?",
             "Put a NUL into sun_path[0], the name behind it, and give "
             "bind() offsetof(struct sockaddr_un, sun_path) + 1 + "
             "strlen(name) as the length."],
      by_hand="""
      SERVER -U @hello &  ss -xl | grep hello
      # "@hello" is due, with no "@" behind it, and no file named @hello""")
def test_abstract_name(launch_server):
    """With -U @name the server listens at exactly that abstract name.

    With the length of the whole struct the name has a hundred NULs more, and
    only those who make the same mistake find it. Taken for a path, it is a
    file that is called "@name".
    """
    path = abstract_name()
    server = launch_server(path=path)
    due = os.fsencode(address(path))
    found = names_of(server)
    if found != [due]:
        why = ", a file of that name" if found[0].startswith(b"@") else \
            f", which is {len(found[0]) - len(due)} bytes longer"
        raise Failure("call", f"-U {path} was given, and the server listens "
                      f"at {shorten(found[0], 20)}{why}")
    server.exchange()


@case("unix/longest-name", **UNIX, defects=(99, 103),
      source="unix(7), Abstract sockets",
      hints=["How long may an abstract name be?",
             "107 bytes: sun_path has 108, and the first is the NUL that "
             "makes the name abstract."],
      by_hand="""
      n=$(printf 'x%.0s' $(seq 107)); SERVER -U @$n   # must listen
      SERVER -U @${n}x; echo $?                       # 1 is due""")
def test_longest_name(launch_server):
    """An abstract name may have 107 bytes; a longer one is refused.

    It needs no NUL at its end, so that it fills sun_path to the last byte.
    """
    path = abstract_name().ljust(SUN_PATH, "x")
    server = launch_server(path=path)
    if names_of(server) != [os.fsencode(address(path))]:
        raise Failure("call", "told an abstract name of 107 bytes, the server "
                      f"listens at one of {len(names_of(server)[0]) - 1}")
    server.done()
    server = launch_server(path=path + "x", ready=False)
    server.quiet()
    if server.program.alive():
        raise Failure("call", "told an abstract name of 108 bytes, the server "
                      "listens at another name")
    fails(server, "the name does not fit",
          os.strerror(errno.ENAMETOOLONG), os.strerror(errno.EINVAL))


@case("unix/stale-file", **UNIX, defects=(100,),
      source="bind(2), EADDRINUSE; unix(7), NOTES: binding makes a socket "
             "file that the caller must remove; connect(2), ECONNREFUSED",
      hints=["Who removes the socket file of a server that was killed?",
             "Where bind() says EADDRINUSE, ask by connect() whether somebody "
             "listens. At ECONNREFUSED nobody does: unlink() the file and "
             "bind() again."],
      by_hand=STALE + """
      SERVER -U PATH      # must listen""")
def test_stale_file(stage, launch_server):
    """A socket file that a server has left behind does not stop the next.

    A crash or SIGKILL leaves the file. A service that then needs a person to
    remove it stays out until that person wakes.
    """
    path = stage.unix_path()
    leave_stale(path)
    server = launch_server(path=path)
    reached(server, "the file at the path was a stale one")


@case("unix/second-instance", **UNIX, defects=(46, 100),
      source="bind(2), EADDRINUSE; unlink(2): a socket that is open stays",
      hints=["What tells a socket file that is stale from one that is in use?",
             "Never unlink() before you have asked by connect(): only "
             "ECONNREFUSED says that nobody listens."],
      by_hand="""
      SERVER -U PATH &    SERVER -U PATH; echo $?     # 1 is due
      echo hello | nc -NU PATH                        # still answered""")
def test_second_instance(server, launch_server):
    """A second server at a path in use fails, and the first goes on.

    A server that just removes what is at its path takes it from the one that
    runs: that one lives on, and nobody can reach it any more.
    """
    server.exchange().close()
    second = launch_server(path=server.path, ready=False)
    second.quiet()
    if not second.program.alive():
        second.program.may_end = True
    elif os.path.exists(server.path):
        raise Failure("call", "the second server listens at the path of the "
                      "first, which nobody can reach any more")
    fails(second, "the path is in use", IN_USE)
    reached(server, "a second server was started at its path")


@case("unix/busy-server", **UNIX, defects=(100,),
      source="connect(2), EAGAIN: the backlog of an AF_UNIX socket is full; "
             "unix(7)",
      hints=["A server that is busy does not answer at once. Is its file "
             "stale?",
             "Ask with a non-blocking connect(): EAGAIN says that there is a "
             "server whose queue is full."],
      by_hand="""
      python3 -c "import socket, time
      s = socket.socket(socket.AF_UNIX); s.bind('PATH'); s.listen(0)
      c = socket.socket(socket.AF_UNIX); c.connect('PATH'); time.sleep(99)" &
      SERVER -U PATH; echo $?     # 1 is due, at once""")
def test_busy_server(stage, launch_server):
    """A server whose queue is full is not taken for one that is gone.

    It may be busy for a moment only. The second server must neither displace
    it nor wait for it.
    """
    busy = stage.listen_unix(backlog=0)
    waiting = stage.connect_unix(busy.path)
    second = launch_server(path=busy.path, ready=False)
    fails(second, "a busy server has the path", IN_USE)
    waiting.close()
    busy.accept()


def _regular(path):
    path.write_bytes(b"not to be lost")


def _folder(path):
    path.mkdir()


def _fifo(path):
    os.mkfifo(path)


def _link(path):
    leave_stale(f"{path}.target")
    path.symlink_to(f"{path}.target")


def _dangling(path):
    path.symlink_to(f"{path}.nothing")


@case("unix/no-socket", **UNIX, defects=(101,),
      source="stat(2), S_ISSOCK, and lstat(); unlink(2); connect(2), "
             "ECONNREFUSED",
      hints=["connect() says ECONNREFUSED for a regular file as well.",
             "Before unlink(), look by lstat() whether the file is a socket; "
             "lstat() does not follow symbolic links."],
      by_hand="""
      echo precious > PATH; SERVER -U PATH; echo $?; cat PATH
      # 1 is due, and "precious"; also for a folder and a symbolic link""")
def test_no_socket(stage, launch_server):
    """What is at the path and is no socket is never removed.

    A path can be mistyped. A server that clears its way then removes the
    user's file, or follows a link to one that it was not told of.
    """
    for number, make in enumerate((_regular, _folder, _fifo, _link,
                                   _dangling)):
        path = Path(stage.unix_path(f"thing{number}"))
        make(path)
        before = path.lstat()
        what = make.__name__.strip("_").replace("_", " ")
        second = launch_server(path=str(path), ready=False)
        second.quiet()
        found = path.lstat() if os.path.lexists(path) else None
        if found is None or found.st_ino != before.st_ino or \
                stat.S_IFMT(found.st_mode) != stat.S_IFMT(before.st_mode):
            raise Failure("call", f"what was at the path ({what}) is no "
                          "socket, and the server has removed it")
        fails(second, f"what is at the path is no socket ({what})", IN_USE)


@case("unix/start-race", **UNIX, level=SHOULD, defects=(100,),
      source="flock(2); unlink(2); listen(2): before it connect() is refused",
      hints=["Between your look at the path and unlink() another server may "
             "have bound it. And what does connect() say of one that has "
             "called bind() and not yet listen()?",
             "Let one server at a time do all of it: flock() the folder, or a "
             "lock file beside the path, until listen() is done."],
      by_hand=STALE + """
      LD_PRELOAD=build/src/fault_preload.so \\
      SOCKSTEP_FAULTS='close@1=kill:SIGSTOP' SERVER -U PATH & p=$!; sleep 1
      SERVER -U PATH & sleep 1; kill -CONT $p; sleep 1
      ss -xl | grep PATH      # one line is due""")
def test_start_race(stage, launch_server):
    """Of two servers that start at the same time one gets the path.

    After a crash an old path is there, and two starts may overlap. Both find
    the path stale; the slower one then removes the file of the faster one,
    which lives on and can't be reached.
    """
    for plan in ("close@1=signal:SIGSTOP", "listen@1=signal:SIGSTOP"):
        path = stage.unix_path()
        leave_stale(path)
        slow = launch_server(path=path, ready=False, plan=plan)
        slow.program.may_end = slow.program.plan_may_miss = True
        slow.wait_frozen()
        fast = launch_server(path=path, ready=False)
        fast.program.may_end = True
        fast.quiet()
        slow.thaw()
        slow.quiet()
        fast.quiet()
        listening = [server for server in (slow, fast)
                     if server.program.alive() and server.listening()]
        if len(listening) != 1:
            told = "both of them listen, and the path leads to one only" \
                if listening else "none of them listens"
            raise Failure("call", "two servers were started at once at a "
                          f"path with a stale file: {told}")
        reached(listening[0], "two servers were started at once")
        for server in (slow, fast):
            if server.program.alive():
                server.done()


@case("unix/removed-at-end", **UNIX, defects=(102,),
      source="unix(7), NOTES; unlink(2); the program contract: an orderly end",
      hints=["close() closes the socket. What about its file?",
             "unlink() the path at an orderly end."],
      by_hand="""
      SERVER -U PATH & p=$!; sleep 1; kill $p; wait $p; ls PATH
      # "No such file" is due""")
def test_removed_at_end(launch_server):
    """After an orderly end the socket file is gone.

    A file without a server makes clients fail with ECONNREFUSED where "No
    such file" would tell more, and it is litter.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        server = launch_server()
        server.exchange().close()
        server.stage.end_in_order(server.program, number)
        if os.path.lexists(server.path):
            raise Failure("leak", "the socket file is still there after "
                          f"{signal.Signals(number).name}")


@case("unix/removes-own-only", **UNIX, defects=(102,),
      source="unlink(2): it removes a name, whatever it leads to; stat(2), "
             "st_dev and st_ino",
      hints=["Is what lies at the path at the end what your server made?",
             "Note st_dev and st_ino by lstat() after bind(), and compare "
             "before unlink()."],
      by_hand="""
      SERVER -U PATH & p=$!; sleep 1; rm PATH
      SERVER -U PATH & sleep 1; kill $p; sleep 1; echo hello | nc -NU PATH
      # hello is due: the second server must be reached""")
def test_removes_own_only(server, launch_server):
    """At its end a server leaves the socket file of another one alone.

    The path may have been given to a new server meanwhile, by someone who
    removed the file. The old one's end must not hide the new one.
    """
    server.quiet()
    os.unlink(server.path)
    second = launch_server(path=server.path)
    server.stage.end_in_order(server.program)
    if not os.path.lexists(second.path):
        raise Failure("call", "the end of the first server has removed the "
                      "socket file of the second one")
    reached(second, "the server before it at the path has ended")


@case("unix/failed-start", **UNIX, level=SHOULD, defects=(102,),
      source="bind(2); listen(2); unlink(2)",
      hints=["Which calls after bind() can fail, and what lies at the path "
             "then?",
             "Remove the file on every way out that comes after bind()."],
      by_hand="""
      strace -o /dev/null -e inject=listen:error=EADDRINUSE SERVER -U PATH
      ls PATH     # "No such file" is due""")
def test_failed_start(launch_server):
    """A start that fails after bind() leaves no socket file behind.

    Nobody listens there, and nobody will come to remove it.
    """
    server = launch_server(ready=False, plan="listen@*=EADDRINUSE")
    server.expect_exit(1, "listen() failed")
    if os.path.lexists(server.path):
        raise Failure("leak", "listen() failed, the server has ended, and its "
                      "socket file is still there")


@case("unix/permissions", **UNIX,
      source="unix(7), Pathname socket ownership and permissions: connecting "
             "needs write permission on the socket; umask(2)",
      hints=["Who may connect? Look at ls -l PATH, with umask 0.",
             "Call umask(0177) before bind() and set the old one back after "
             "it, or chmod() the path before listen()."],
      by_hand="""
      (umask 0; SERVER -U PATH) & sleep 1; ls -l PATH
      # srw------- is due""")
def test_permissions(launch_server):
    """Only the owner may connect, from the first moment, whatever the umask.

    Whoever may write to the socket file may talk to the server. A mode that
    is set after listen() comes too late for who was faster.
    """
    before = os.umask(0)
    try:
        server = launch_server(ready=False, plan="listen@1=signal:SIGSTOP")
    finally:
        os.umask(before)
    server.wait_frozen()
    if not os.path.lexists(server.path):
        server.find()                       # it says why it did not start
        raise Failure("call", "the server listens, and not at the path that "
                      "it was told")
    for when in ("before listen()", "while it listens"):
        mode = stat.S_IMODE(os.lstat(server.path).st_mode)
        if mode & 0o022:
            raise Failure("call", f"{when} the socket file has mode "
                          f"{mode:04o}: others than its owner may connect")
        if server.program.frozen:
            server.thaw()
            server.find()
    server.exchange()


@case("unix/credentials", **UNIX,
      source="unix(7), SO_PEERCRED: the process ID, user ID and group ID of "
             "the peer at its connect(2)",
      hints=["Who is at the other end? The kernel knows, for a peer on the "
             "same machine.",
             "getsockopt(connection, SOL_SOCKET, SO_PEERCRED, ...) fills a "
             "struct ucred; print \"pid N, uid N, gid N\" and flush."],
      by_hand="""
      SERVER -U PATH &  python3 -c "import os, socket
      socket.socket(socket.AF_UNIX).connect('PATH'); print(os.getpid())"
      # the server must print the same pid, and the numbers of id""")
def test_credentials(server):
    """The server tells each client's pid, uid and gid on standard output.

    What a client says of itself may be a lie; this comes from the kernel,
    and no other transport has it.
    """
    group, own = os.getegid(), os.getpid()
    if os.geteuid() == 0:           # who may: another number than the uid's
        os.setegid(54321)
    try:
        peer = server.exchange()
        due = {"pid": own, "uid": os.geteuid(), "gid": os.getegid()}
    finally:
        os.setegid(group)
    server.quiet()
    output = server.program.stdout
    told = [dict.fromkeys(due) | {
        name.decode(): int(number) for name, number in
        re.findall(rb"\b([pug]id)[ =:]{1,3}(\d+)\b", line.lower())}
        for line in output.splitlines()]
    told = [line for line in told if None not in line.values()]
    if not told:
        raise Failure("output", 'no line with "pid N", "uid N" and "gid N" is '
                      "on standard output", f"standard output: "
                      f"{shorten(output, 300)}")
    for name, number in due.items():
        if told[-1][name] != number:
            raise Failure("output", f"the client's {name} is {number}; the "
                          f"server says {told[-1][name]}")
    peer.close()


@case("unix/log-unread", **UNIX, level=SHOULD,
      source="pipe(7): a full pipe blocks its writer; poll(2), POLLOUT",
      hints=["What does your server wait in when nobody reads its standard "
             "output?",
             "Look by poll() with a timeout of 0 whether there is room, and "
             "leave the line out if there is none."],
      by_hand="""
      SERVER -U PATH | sleep 999 &
      for i in $(seq 9999); do echo $i | nc -NU PATH; done
      # must go on to the end""")
def test_log_unread(stage, launch_server):
    """A log that nobody reads does not stop the server.

    A pipe has room for 64 KiB. If what reads it hangs, so does a server that
    waits for room; its clients are more important than its log.
    """
    path = stage.unix_path("log")
    os.mkfifo(path)
    log = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        try:
            while os.write(log, b"full" * 1024):
                pass
        except BlockingIOError:
            pass
        server = launch_server(stdout=path)
        server.exchange()
        server.done()
    finally:
        os.close(log)


@case("unix/unread-close", **UNIX, defects=(36, 37),
      source="recv(2), ECONNRESET (POSIX.1-2008); unix(7); close(2)",
      hints=["AF_UNIX has no segments, but ECONNRESET it has: which client "
             "brings it about?",
             "An error of recv() or send() ends that connection: close it and "
             "go on with accept()."],
      by_hand="""
      python3 -c "import socket; s = socket.socket(socket.AF_UNIX)
      s.connect('PATH'); s.send(b'hello'); import time; time.sleep(1)"
      echo hello | nc -NU PATH        # must be answered""")
def test_unread_close(server):
    """A client that closes with its reply unread does not end the server.

    The kernel then gives the server ECONNRESET, as it does for a reset of
    TCP. The clients after it must be served.
    """
    peer = server.connect()
    peer.send(b"a line whose reply is not read\n")
    server.quiet()
    peer.close()
    server.expect_alive("a client that closed with its reply unread")
    server.exchange()


@case("unix/both-families", **UNIX, options=True,
      source="socket(2): the family chooses the addresses; document 001: "
             "family and type; poll(2)",
      hints=["Which of your calls know the family?",
             "One listening socket for each, poll() for all of them; accept() "
             "and what follows are the same."],
      by_hand="""
      SERVER -U PATH -H 127.0.0.1 -P PORT &
      echo hello | nc -NU PATH; echo hello | nc -N 127.0.0.1 PORT""")
def test_both_families(stage, launch_server, target):
    """Told -U and -P, one server serves AF_UNIX and TCP, client by client.

    The family is only the kind of address: a stream is a stream. A client of
    one family that waits for one of the other is served afterwards.
    """
    path = stage.unix_path()
    program = stage.start([*target.command, "-U", path, "-H", LOOPBACK, "-P",
                           "0"])
    stage.wait_listening(program)
    address = stage.wait_listening(program, "tcp").local
    peers = [stage.connect_unix(path), stage.connect(address),
             stage.connect_unix(path), stage.connect(address)]
    for number, peer in enumerate(peers):
        peer.send(b"%s, of four: %s\n" % (peer.label.encode(), word(number)))
        peer.half_close()
    for number, peer in enumerate(peers):
        peer.expect(b"%s, of four: %s\n"
                    % (peer.label.encode(), word(number)))
        peer.expect_end()


@case("unix/tcp-alone", **UNIX, options=True,
      source="the contract of the lesson",
      hints=["What is there to be done for AF_UNIX if nobody asked for it?",
             "Without -U, and with -H or -P, bind no path at all."],
      by_hand="""
      SERVER -H 127.0.0.1 -P PORT & sleep 1; ls echo.sock
      # "No such file" is due""")
def test_tcp_alone(stage, target):
    """Told only -P, the server serves TCP and makes no socket file.

    The same program is the server of either family, and of no more than was
    asked for.
    """
    program = stage.start([*target.command, "-H", LOOPBACK, "-P", "0"])
    address = stage.wait_listening(program, "tcp").local
    peer = stage.connect(address)
    peer.send(b"over TCP: %s\n" % word())
    peer.expect(b"over TCP: %s\n" % word())
    if found := program.left_files():
        raise Failure("output", f"the server has made {found[0]}, though no "
                      "path was asked for")


@case("unix/default-path", **UNIX, options=True,
      source="the contract of the lesson: echo.sock in the working folder",
      hints=["Without -U the server has the lesson's own path.",
             "Start the option's variable with \"echo.sock\"."],
      by_hand="cd /tmp; SERVER & sleep 1; ls -l echo.sock")
def test_default_path(stage, target):
    """Without options the server listens at echo.sock in its folder.

    Clients that are not told a path look for it there.
    """
    program = stage.start(target.command)
    row = stage.wait_listening(program)
    name = row.name.rstrip(b"\0")
    due = program.workplace / "echo.sock"
    if not due.is_socket():             # whatever the server calls its path
        raise Failure("call", f"the server listens at {shorten(name)}, "
                      "and echo.sock in its folder is no socket")
    stage.end_in_order(program)
    due.unlink(missing_ok=True)
