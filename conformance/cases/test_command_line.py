"""The command line of servers and clients, and where it can't be obeyed."""
import ctypes
import errno
import os
import socket

from sockstep.case import EVERY_SERVICE, EVERY_TRANSPORT, case
from sockstep.failure import Failure
from sockstep.listener import LOOPBACK

GROUP = "Command line and text"
#: Arguments of -P that are no port.
NO_PORTS = ("abc", "-1", "65536", "80x", "", "4294967376", "0x50")
#: A host name that resolvers refuse without asking the network.
NO_HOST = "no such host"
FOREIGN = "192.0.2.1"               # RFC 5737: an address of nobody


def refused(stage, target, *words):
    """The program refuses these words: status 2 and a line on usage."""
    program = stage.start([*target.command, *needed(stage, target), *words])
    shown = " ".join(word or "''" for word in words)
    try:
        if target.role == "client":
            program.end_input()
        stage.expect_exit(2, program, "wrong usage")
    except Failure as failure:
        raise Failure(failure.kind, f"with the arguments {shown}: "
                      f"{failure.message}", failure.detail) from None
    if b"usage" not in program.stderr.lower():
        raise Failure("output", f"with the arguments {shown}: a line on "
                      "usage is due on standard error",
                      program.stderr.decode(errors="replace")[-500:])
    if program.stdout:
        raise Failure("output", f"with the arguments {shown}: standard "
                      "output is for results; usage goes to standard error",
                      program.stdout.decode(errors="replace")[-500:])


def address(stage, target):
    """Words for an address at which nobody listens."""
    role = target.role
    if target.contract.transport == "unix":
        return ["-U", stage.unix_path("nobody")]
    port = 0 if role == "server" else stage.listen(backlog=-1).port
    return ["-H", LOOPBACK, "-P", str(port)]


def needed(stage, target):
    """Words without which a client has nothing to do: the file to send."""
    if target.role == "client" and target.contract.service == "file":
        return ["-F", str(stage.make_file("sent.txt", b"some text"))]
    return []


def wrong_usage(stage, target):
    right = address(stage, target)
    refused(stage, target, *right, "-Z")
    refused(stage, target, *right[:-1])
    refused(stage, target, *right, "surplus")


USAGE = dict(
    group=GROUP, defects=(116,), options=True, services=EVERY_SERVICE,
    transports=EVERY_TRANSPORT,
    source="getopt(3); POSIX.1-2017 XBD 12.2, Utility Syntax Guidelines",
    hints=["getopt() returns '?' for what it does not know; optind says "
           "where the operands begin.",
           'Write "usage: ..." to standard error and exit(2).'],
    by_hand="""PROGRAM -Z; PROGRAM -P; PROGRAM surplus
               Each time echo $? must say 2.""")


@case("cli/server-usage", role="server", **USAGE)
def test_server_usage(stage, target):
    """Wrong usage ends a server with status 2 and a line on usage.

    An option that is unknown, one without its argument, and an operand too
    much are mistakes of the user, who wants to be told and not to find a
    server that runs with other settings than were meant.
    """
    wrong_usage(stage, target)


@case("cli/client-usage", role="client", **USAGE)
def test_client_usage(stage, target):
    """Wrong usage ends a client with status 2 and a line on usage.

    An option that is unknown, one without its argument, and an operand too
    much are mistakes of the user, who wants to be told.
    """
    wrong_usage(stage, target)


PORT = dict(
    group=GROUP, defects=(117,), options=True, services=EVERY_SERVICE,
    transports=("tcp", "udp"),
    source="strtol(3); getaddrinfo(3), AI_NUMERICSERV; RFC 9293 3.1: ports "
           "have 16 bits",
    hints=["atoi() can't say that something is no number, and a port that "
           "is too large loses its upper bits in htons().",
           "Use strtol(), look at where it stopped, at errno and at the "
           "range, 0 to 65535."],
    by_hand="""PROGRAM -P abc; PROGRAM -P -1; PROGRAM -P 65536;
               PROGRAM -P 80x; PROGRAM -P ''
               Each time echo $? must say 2.""")


@case("cli/server-port", role="server", **PORT)
def test_server_port(stage, target):
    """A server refuses a port that is not a number from 0 to 65535.

    One that takes what atoi() makes of it listens somewhere, and nobody
    finds it.
    """
    for text in NO_PORTS:
        refused(stage, target, "-H", LOOPBACK, "-P", text)


@case("cli/client-port", role="client", **PORT)
def test_client_port(stage, target):
    """A client refuses a port that is not a number from 1 to 65535.

    Port 0 means "any" to bind(); there is none to connect to.
    """
    for text in (*NO_PORTS, "0"):
        refused(stage, target, "-H", LOOPBACK, "-P", text)


PATH = dict(
    group=GROUP, options=True, transports=("unix",), defects=(103,),
    source="unix(7), Autobind feature: an address without a name gets one of "
           "the kernel's choice",
    hints=["What is the name of a socket whose path is empty?",
           "Refuse -U '' and -U @ as wrong usage: the kernel would take them "
           "for other names."],
    by_hand="""PROGRAM -U ''; echo $?; PROGRAM -U @; echo $?
               must say 2 each time.""")


@case("cli/server-path", role="server", **PATH)
def test_server_path(stage, target):
    """A server refuses a path or an abstract name of no bytes.

    The kernel gives such a socket a name of its own, and nobody finds it. In
    a script an empty path is a variable that was never set.
    """
    refused(stage, target, "-U", "")
    refused(stage, target, "-U", "@")


@case("cli/client-path", role="client", **PATH)
def test_client_path(stage, target):
    """A client refuses a path or an abstract name of no bytes.

    In a script an empty path is a variable that was never set. Whoever wrote
    it wants to be told that, and not that a connection was refused.
    """
    refused(stage, target, "-U", "")
    refused(stage, target, "-U", "@")


def resolver_messages():
    """What gai_strerror(3) says of a name that has no address."""
    tell = ctypes.CDLL(None).gai_strerror
    tell.restype = ctypes.c_char_p
    return [tell(number).decode() for number in (
        socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_FAIL,
        socket.EAI_AGAIN, socket.EAI_ADDRFAMILY, socket.EAI_FAMILY)]


def no_such_host(stage, target):
    port = address(stage, target)[-1]
    program = stage.start([*target.command, *needed(stage, target),
                           "-H", NO_HOST, "-P", port])
    if target.role == "client":
        program.end_input()
    stage.expect_exit(1, program, f'there is no host "{NO_HOST}"')
    stage.expect_complaint(*resolver_messages())


HOST = dict(
    group=GROUP, defects=(96,), options=True, services=EVERY_SERVICE,
    transports=("tcp", "udp"),
    source="getaddrinfo(3), RETURN VALUE; gai_strerror(3)",
    hints=["getaddrinfo() returns its error; errno has nothing to do with "
           "it.",
           "Print gai_strerror() of what getaddrinfo() returned (and "
           "strerror(errno) only where that is EAI_SYSTEM), end with "
           "status 1."],
    by_hand="""PROGRAM -H 'no such host' -P 8080; echo $?  must say 1, and
               the message that the name is not known, not "Success" or "No
               such file".""")


@case("cli/server-host", role="server", **HOST)
def test_server_host(stage, target):
    """A server that can't have its address says why, with status 1.

    A name that nobody knows is told in the resolver's words, and an address
    of another machine in those of bind().
    """
    no_such_host(stage, target)
    with socket.socket() as probe:
        try:
            probe.bind((FOREIGN, 0))
        except OSError:
            program = stage.start([*target.command, "-H", FOREIGN, "-P", "0"])
            stage.expect_exit(1, program, f"{FOREIGN} is not of this machine")
            stage.expect_complaint(os.strerror(errno.EADDRNOTAVAIL))


@case("cli/client-host", role="client", **HOST)
def test_client_host(stage, target):
    """A client that can't find its host says why, with status 1.

    A name that nobody knows is told in the resolver's words: strerror() of
    what was left in errno leads astray.
    """
    no_such_host(stage, target)
