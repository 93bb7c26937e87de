"""A client's way to its server by a path or an abstract name: unix(7)."""
import errno
import itertools
import os
from pathlib import Path

from sockstep.case import case
from sockstep.data import word
from sockstep.failure import Failure
from sockstep.listener import LOOPBACK

GROUP = "Unix domain"
UNIX = dict(role="client", group=GROUP, transports=("unix",))
LINE = b"Two processes, one machine: " + word()
#: sizeof(sun_path) on Linux: a path of so many bytes has no NUL there.
SUN_PATH = 108
_numbers = itertools.count(1)


def long_path(stage, length):
    """A path of exactly `length` bytes."""
    start = stage.unix_path("p")
    return start + "x" * (length - len(start.encode()))


def abstract_name():
    """An abstract name that nobody else has, as -U takes it."""
    return f"@sockstep.client.{os.getpid()}.{next(_numbers)}"


def talks(client):
    """A line goes and comes back."""
    client.type(LINE + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, LINE))
    client.finish()
    client.expect_replies(LINE)


def fails(client, why, *reasons):
    """The client ends with status 1 and says why."""
    client.type(LINE + b"\n")
    client.end_input()
    client.expect_exit(1, why)
    client.stage.expect_complaint(*reasons)
    client.expect_no_output()


@case("unix/client-no-file", **UNIX, defects=(44,),
      source="connect(2), ENOENT; unix(7)",
      hints=["What does connect() return for a path that is not there?",
             "Print `program: what: why` with strerror(errno), and end with "
             "status 1."],
      by_hand="echo hello | CLIENT -U /tmp/nobody; echo $?     # 1 is due")
def test_no_file(stage, launch_client):
    """Where there is no socket file, the client says so, with status 1.

    "No such file or directory": the server was never started, or the path is
    mistyped. That is not what ECONNREFUSED says.
    """
    fails(launch_client(path=stage.unix_path("nobody")),
          "there is no such file", os.strerror(errno.ENOENT))


@case("unix/client-stale-file", **UNIX, defects=(44, 100),
      source="connect(2), ECONNREFUSED; unix(7)",
      hints=["The file is there, and nobody listens. Which errno is that?",
             "Print `program: what: why` with strerror(errno), and end with "
             "status 1."],
      by_hand="""
      python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('PATH')"
      echo hello | CLIENT -U PATH; echo $?        # 1 is due""")
def test_stale_file(stage, launch_client):
    """Where a socket file is stale, the client says so, with status 1.

    "Connection refused": a server was here and is gone.
    """
    fails(launch_client(listener=stage.listen_unix(backlog=-1)),
          "nobody listens there", os.strerror(errno.ECONNREFUSED))


@case("unix/client-denied", **UNIX, defects=(44,),
      source="connect(2), EACCES; unix(7), Pathname socket ownership and "
             "permissions",
      hints=["Not everybody may write to a socket file.",
             "Print `program: what: why` with strerror(errno), and end with "
             "status 1."],
      by_hand="""
      SERVER -U PATH & sleep 1; chmod 0 PATH
      echo hello | CLIENT -U PATH; echo $?    # 1 is due (not as root)""")
def test_denied(launch_client):
    """Where the client may not connect, it says so, with status 1.

    "Permission denied" tells the user to ask the owner of the socket file,
    and not to look for a server that is down.
    """
    client = launch_client(plan="connect@*=EACCES")
    fails(client, "it may not connect", os.strerror(errno.EACCES))


@case("unix/client-longest-path", **UNIX, defects=(99,),
      source="unix(7), Pathname sockets: sun_path has 108 bytes, the NUL "
             "included",
      hints=["How many bytes of a path fit into sun_path together with its "
             "NUL?",
             "107: refuse a path only if strlen(path) >= "
             "sizeof(address.sun_path)."],
      by_hand="""
      p=/tmp/$(printf 'x%.0s' $(seq 102))     # 107 bytes
      SERVER -U $p & sleep 1; echo hello | CLIENT -U $p""")
def test_longest_path(stage, launch_client):
    """A server at a path of 107 bytes is found.

    That is the longest that fits into sun_path with its NUL.
    """
    path = long_path(stage, SUN_PATH - 1)
    talks(launch_client(listener=stage.listen_unix(path)))


@case("unix/client-path-too-long", **UNIX, defects=(99,),
      source="unix(7), Pathname sockets; connect(2); strncpy(3)",
      hints=["What does your program do with a path that has more bytes than "
             "sun_path?",
             "Compare strlen(path) with sizeof(address.sun_path) before you "
             "copy; say ENAMETOOLONG and end with status 1."],
      by_hand="""
      p=/tmp/$(printf 'x%.0s' $(seq 102)); SERVER -U $p & sleep 1
      echo hello | CLIENT -U ${p}yz; echo $?      # 1 is due, and no hello""")
def test_path_too_long(stage, launch_client):
    """A path that does not fit into sun_path is refused, with status 1.

    Cut off, it is the path of another socket: what was meant for one server
    goes to another.
    """
    other = stage.listen_unix(long_path(stage, SUN_PATH - 1))
    for length in (SUN_PATH + 1, 200):
        client = launch_client(path=long_path(stage, length))
        client.type(LINE + b"\n")
        client.end_input()
        client.quiet()
        try:
            other.nobody()
        except Failure:
            raise Failure("call", f"told a path of {length} bytes, the client "
                          "connects to another, of 107") from None
        client.expect_exit(1, f"a path of {length} bytes does not fit")
        stage.expect_complaint(os.strerror(errno.ENAMETOOLONG),
                               os.strerror(errno.EINVAL))
        client.expect_no_output()


@case("unix/client-abstract", **UNIX, defects=(103,),
      source="unix(7), Abstract sockets: the name is sun_path[1] and on, as "
             "long as the address length says",
      hints=["Where does an abstract name end, if not at a NUL?",
             "Put a NUL into sun_path[0], the name behind it, and give "
             "connect() offsetof(struct sockaddr_un, sun_path) + 1 + "
             "strlen(name) as the length."],
      by_hand="""
      python3 -c "import socket; s = socket.socket(socket.AF_UNIX)
      s.bind('\\\\0hello'); s.listen(); c = s.accept()[0]
      c.send(c.recv(99))" &  sleep 1; echo hi | CLIENT -U @hello""")
def test_abstract(stage, launch_client):
    """With -U @name a server at exactly that abstract name is found.

    With the length of the whole struct the name has a hundred NULs more, and
    nobody listens there.
    """
    for name in (abstract_name(), abstract_name().ljust(SUN_PATH, "x")):
        talks(launch_client(listener=stage.listen_unix(name)))
        for peer in stage.peers:
            peer.close()


@case("unix/client-reset", **UNIX, defects=(43,),
      source="recv(2), ECONNRESET (POSIX.1-2008); unix(7)",
      hints=["recv() can return -1 on AF_UNIX too: what does your client do "
             "then?",
             "Say what failed and why (strerror), and end with status 1."],
      by_hand="""
      python3 -c "import socket, time; s = socket.socket(socket.AF_UNIX)
      s.bind('PATH'); s.listen(); c = s.accept()[0]; time.sleep(1)" &
      sleep 1; echo hello | CLIENT -U PATH; echo $?       # 1 is due""")
def test_reset(client):
    """A server that goes with the line unread is a failure: status 1.

    The kernel then says ECONNRESET, as it does for a reset of TCP. The
    client must neither crash nor end as if all were well.
    """
    client.type(LINE + b"\n")
    peer = client.accept()
    client.quiet()
    peer.close()
    client.end_input()
    client.expect_exit(1, "the server went with the line unread")
    client.stage.expect_complaint()


@case("unix/client-full-queue", **UNIX,
      source="connect(2), EAGAIN: a non-blocking AF_UNIX socket whose peer's "
             "backlog is full; unix(7)",
      hints=["The queue of the server is full for a moment. What does "
             "connect() do?",
             "Leave the socket blocking until it is connected: connect() then "
             "waits for room. Non-blocking, it fails with EAGAIN, and poll() "
             "does not tell when there is room."],
      by_hand="""
      SERVER -U PATH & p=$!; sleep 1; kill -STOP $p
      for i in $(seq 20); do echo $i | CLIENT -U PATH & done
      sleep 1; kill -CONT $p      # each client must get its number""")
def test_full_queue(stage, launch_client):
    """A client that finds the server's queue full waits for its turn.

    AF_UNIX has no handshake that could be tried again later by the kernel:
    the program itself must wait, or it gives up while the server is only
    busy.
    """
    listener = stage.listen_unix(backlog=0)
    first = stage.connect_unix(listener.path)
    client = launch_client(listener=listener)
    client.type(LINE + b"\n")
    client.end_input()
    client.quiet()
    if not client.program.alive():
        client.program.may_end = True
        raise Failure("exit", "the server's queue was full for a moment, and "
                      f"the client gave up ({client.program.ending()})",
                      client.program.stderr.decode(errors="replace"))
    listener.accept().close()
    first.close()
    peer = client.accept()
    peer.send(client.read_line(peer, LINE))
    client.finish()
    client.expect_replies(LINE)


@case("unix/client-both-families", **UNIX, options=True,
      source="socket(2): the family chooses the addresses; document 001: "
             "family and type",
      hints=["Which of your calls know the family?",
             "Only the one that makes the address: -U names a path, -H and -P "
             "a server of TCP; send() and recv() are the same."],
      by_hand="""
      python3 conformance/peers/echo_server_in_turn.py HOST PORT
      # in a second terminal:
      echo hello | CLIENT -H HOST -P PORT""")
def test_both_families(stage, target):
    """Told -H and -P in place of -U, the client talks over TCP.

    The family is only the kind of address: a stream is a stream.
    """
    listener = stage.listen()
    program = stage.start([*target.command, "-H", LOOPBACK, "-P",
                           str(listener.port)])
    program.type(LINE + b"\n")
    program.end_input()
    peer = listener.accept()
    peer.expect(LINE + b"\n")
    peer.send(LINE + b"\n")
    peer.until_end()
    peer.close()
    stage.expect_exit(0, program, "the line got its reply")
    if LINE not in program.stdout:
        raise Failure("output", "the reply is not on standard output")


@case("unix/client-default-path", **UNIX, options=True,
      source="the contract of the lesson: echo.sock in the working folder",
      hints=["Without -U the client has the lesson's own path.",
             "Start the option's variable with \"echo.sock\"."],
      by_hand="cd /tmp; SERVER & sleep 1; echo hello | CLIENT")
def test_default_path(stage, target):
    """Without options the client looks for echo.sock in its folder.

    That is where a server without options listens.
    """
    program = stage.start(target.command, plan="connect@*=signal:SIGSTOP")
    stage.wait(lambda: program.stopped() or not program.alive(), None,
               "the client never calls connect()")
    if not program.alive():
        program.may_end = True
        raise Failure("exit", "the client ends and never calls connect()")
    path = Path(program.workplace) / "echo.sock"
    listener = stage.listen_unix(str(path))
    program.thaw()
    program.end_input()
    peer = listener.accept()
    peer.until_end()
    peer.close()
    path.unlink()
    stage.expect_exit(0, program, "there was no input")
