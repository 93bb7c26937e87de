"""Ports, the life cycle of a server, and clients that come in turn."""
import errno
import os
import re

from sockstep import faults, procfs
from sockstep.case import (
    EVERY_SERVICE, EVERY_TRANSPORT, FOR_EVER, SHOULD, STREAMS, case)
from sockstep.data import word
from sockstep.deadline import TIME_WAIT_SECONDS, Deadline
from sockstep.failure import Failure, HarnessError, Unsupported, within
from sockstep.transcript import count

PORTS = "Ports and life cycle"
TURNS = "Turns"
WILDCARDS = ("0.0.0.0", "::")
INTERNET = ("tcp", "udp")
IN_USE = os.strerror(errno.EADDRINUSE)
#: Words of one that says it is ready to serve.
READY = re.compile(rb"\b(listening|ready|waiting|accepting|serving|running)\b",
                   re.IGNORECASE)


def addresses(server):
    """The addresses at which the server listens, as the kernel has them."""
    server.quiet()
    inodes = server.program.socket_inodes()
    diag = server.stage.diag
    rows = diag.datagram_sockets() if \
        server.target.contract.transport == "udp" else diag.listeners()
    return [row.local for row in rows if row.inode in inodes]


def leave_time_wait(server):
    """End a server with a client connected; the client's address.

    The server's side closes first, so its port is held by TIME_WAIT.
    """
    deadline = Deadline(TIME_WAIT_SECONDS)
    while procfs.time_wait_is_full():
        if deadline.expired():
            raise Unsupported("the system keeps no more connections in "
                              "TIME_WAIT: tcp_max_tw_buckets in tcp(7)")
        server.program.pace(0.1)
    peer = server.connect()
    server.quiet()                          # it is accepted
    server.stage.end_in_order(server.program)
    server.stage.end_children()             # one of them may serve the client
    peer.until_end()
    peer.close()
    return peer.near


def held(server):
    """The sockets that have the server's port, in any state."""
    return server.stage.diag.with_local_port(server.port)


def taken_by_others(server, client):
    """Whether a socket that is not of this connection has the port."""
    return any(row.remote != client for row in held(server))


@case("port/restart", role="server", group=PORTS,
      services=EVERY_SERVICE, defects=(45,),
      source="socket(7), SO_REUSEADDR; RFC 9293 3.6.1: TIME-WAIT lasts for "
             "two segment lifetimes",
      hints=["The side that closes first keeps the connection in TIME_WAIT, "
             "and that holds the port for a minute.",
             "Set SO_REUSEADDR before bind(), in every run."],
      by_hand="""Start the server. In a second terminal:
                 nc HOST PORT
                 End the server with Ctrl-C, start it again at once with the
                 same -P: bind says "Address already in use".
                 ss -tan 'sport = :PORT' shows TIME-WAIT.""")
def test_restart(launch_server):
    """A server can be started again at once on the port that it had.

    Connections that its last run closed stay in the kernel for a minute; a
    service must not be out for as long after each restart.
    """
    for attempt in range(5):
        first = launch_server()
        client = leave_time_wait(first)
        if not held(first) and attempt < 4:
            continue                # it was a reset: nothing holds the port
        try:
            again = launch_server(port=first.port)
        except Failure as failure:
            if taken_by_others(first, client):
                continue            # by chance: set it up on another port
            raise Failure(
                failure.kind, "the second start on the same port failed: "
                f"{failure.message}; all that holds the port is a connection "
                "of the first run in TIME_WAIT", failure.detail) from None
        again.exchange()
        return
    raise HarnessError("other programs took the port of each of five servers")


@case("port/second-instance", role="server", group=PORTS,
      services=EVERY_SERVICE, transports=INTERNET, defects=(46, 49),
      source="bind(2), EADDRINUSE; socket(7), SO_REUSEPORT",
      hints=["Look at what bind() and listen() return.",
             "SO_REUSEADDR is enough for a quick restart. SO_REUSEPORT lets "
             "two servers share the port, and the kernel gives each client "
             "to one of them by chance."],
      by_hand="""Start the server with -P PORT in two terminals: the second
                 must say "Address already in use" and end (echo $? says
                 1).""")
def test_second_instance(server, launch_server):
    """A second server on a port that is taken fails, with status 1.

    If both ran, each client would meet one or the other by chance, and an
    old version that was forgotten would go on to answer.
    """
    second = launch_server(port=server.port, ready=False)
    second.expect_exit(1, "the port is taken")
    server.stage.expect_complaint(IN_USE)


@case("port/asked", role="server", group=PORTS,
      services=EVERY_SERVICE, transports=INTERNET, defects=(47,), options=True,
      source="htons(3); ip(7): the port is in network byte order",
      hints=["A port's two bytes go to the kernel in network byte order.",
             "Put htons(port) into sin_port, or let getaddrinfo() do it."],
      by_hand="""Start the server with -P 4660 and look at the port that
                 ss -tlnp shows for it: 13330 is 4660 with its bytes
                 swapped.""")
def test_asked(stage, launch_server):
    """The port that is bound is the one that -P asks for.

    On most machines a port without htons() has its bytes swapped: the
    server seems to work until someone looks for it where it should be.
    """
    for port in (4660, 51966):              # 0x1234, 0xcafe
        server = launch_server(port=port, ready=False,
                               plan="bind@*=EADDRINUSE")
        server.quiet()
        expect_bound(server.program, port)


@case("port/default", role="server", group=PORTS,
      services=EVERY_SERVICE, transports=INTERNET, options=True,
      source="the contract of the lesson",
      hints=["Without -P the server has the port of the document.",
             "Start the option's variable with that port."],
      by_hand="Start the server without options; ss -tlnp shows its port.")
def test_default(stage, target):
    """Without -P the server has the lesson's own port.

    Clients that are not told a port look for it there.
    """
    program = stage.start(target.command, plan="bind@*=EADDRINUSE")
    stage.quiet()
    expect_bound(program, target.contract.port)


def expect_bound(program, port):
    """The last bind() of the program asked for `port`."""
    program.may_end = True
    bound = [re.search(r"[:\]](\d+)\)", call.text)
             for call in program.calls() if call.cls == "bind"]
    found = [int(match[1]) for match in bound if match]
    if not found and faults.reached(program.call_log):
        raise Failure("call", "the server never calls bind()")
    if found and found[-1] != port:
        swapped = (port & 0xff) << 8 | port >> 8
        why = ": its two bytes are swapped, so htons() is missing" \
            if found[-1] == swapped else ""
        raise Failure("call", f"bind() asks for port {found[-1]} instead of "
                      f"{port}{why}")


@case("port/address-asked", role="server", group=PORTS,
      services=EVERY_SERVICE, transports=INTERNET, defects=(48,),
      options=True, source="ip(7), INADDR_ANY; bind(2)",
      hints=["-H says at which address the server can be reached.",
             "Bind the address that -H names, not INADDR_ANY."],
      by_hand="""Start the server with -H 127.0.0.2 and look at its line in
                 ss -tlnp: the local address must be 127.0.0.2, not 0.0.0.0
                 or *.""")
def test_address_asked(launch_server):
    """With -H the server listens at that address and at no other.

    Who asks for the loopback address does not want the whole network to
    reach a service that has no password.
    """
    server = launch_server(host="127.0.0.2")
    found = sorted({host for host, _port in addresses(server)})
    if found != ["127.0.0.2"]:
        raise Failure("call", "the server was told -H 127.0.0.2 and listens "
                      f"at {' and '.join(found) or 'no address'}")
    server.exchange()


@case("port/all-interfaces", role="server", group=PORTS,
      services=EVERY_SERVICE, transports=INTERNET, options=True,
      source="ip(7), INADDR_ANY; getaddrinfo(3), AI_PASSIVE",
      hints=["Without -H the server is for everybody.",
             "Bind INADDR_ANY, or call getaddrinfo() with AI_PASSIVE and "
             "without a host."],
      by_hand="""Start the server without -H; nc 127.0.0.2 PORT must reach it
                 as well as nc 127.0.0.1 PORT.""")
def test_all_interfaces(launch_server):
    """Without -H the server listens at all addresses of the machine.

    A server that only its own machine can reach is of no use to the others.
    """
    server = launch_server(host=None)
    found = sorted({host for host, _port in addresses(server)})
    if not set(found) & set(WILDCARDS):
        raise Failure("call", "without -H the server must listen at all "
                      f"addresses; it listens at {' and '.join(found)}")
    server.address = ("127.0.0.2", server.port)
    server.exchange()


def fails_at(launch_server, plan, number):
    """Start a server with a call that fails: status 1, and a complaint."""
    server = launch_server(ready=False, plan=plan)
    call = plan.split("@")[0]
    server.expect_exit(1, f"{call}() failed: {os.strerror(number)}")
    server.stage.expect_complaint(os.strerror(number))


@case("port/socket-error", role="server", group=PORTS,
      services=EVERY_SERVICE, transports=EVERY_TRANSPORT, defects=(49,),
      source="socket(2), ERRORS; errno(3)",
      hints=["socket() fails where the process has no descriptor left.",
             "Look for -1, say what failed and strerror(errno), end with "
             "status 1."],
      by_hand="""strace -e inject=socket:error=EMFILE SERVER -P PORT;
                 echo $?  must say 1""")
def test_socket_error(launch_server):
    """If socket() fails the server says so and ends with status 1.

    Without that look the next calls get -1 for a descriptor, and the
    message, if any, is about the wrong call.
    """
    fails_at(launch_server, "socket@*=EMFILE", errno.EMFILE)


@case("port/listen-error", role="server", group=PORTS,
      services=EVERY_SERVICE, defects=(49,),
      source="listen(2), EADDRINUSE",
      hints=["Not only bind() may fail because the port is taken.",
             "Look at the result of listen() too."],
      transports=STREAMS,
      by_hand="""strace -e inject=listen:error=EADDRINUSE SERVER -P PORT;
                 echo $?  must say 1""")
def test_listen_error(launch_server):
    """If listen() fails the server says so and ends with status 1.

    Two servers with SO_REUSEADDR may both bind a port on which neither
    listens yet; listen() is then the call that tells the second.
    """
    fails_at(launch_server, "listen@*=EADDRINUSE", errno.EADDRINUSE)


@case("port/false-ready", role="server", group=PORTS,
      services=EVERY_SERVICE, defects=(51,),
      level=SHOULD, source="listen(2)",
      hints=["Say that the server is ready only when it is.",
             "Print the line after listen() has returned 0."],
      transports=STREAMS,
      by_hand="""strace -e inject=listen:error=EADDRINUSE SERVER -P PORT
                 must not print that it listens""")
def test_false_ready(launch_server):
    """A server says that it is ready only once it listens.

    Scripts and people start their clients when they see that line.
    """
    launch_server()                     # it does listen where it can
    server = launch_server(ready=False, plan="listen@*=EADDRINUSE")
    server.quiet()
    server.program.may_end = True
    said = READY.search(server.program.stdout)
    if said:
        raise Failure("output", f'"{said[0].decode()}" stands on standard '
                      "output although listen() failed")


@case("port/backlog", role="server", group=PORTS,
      services=EVERY_SERVICE, defects=(50,),
      clients=FOR_EVER, source="listen(2), backlog; tcp(7)",
      hints=["The second argument of listen() is how many clients may wait.",
             "Let at least five wait: listen(fd, 10), or SOMAXCONN."],
      transports=STREAMS,
      by_hand="""Start the server, stop it with kill -STOP, start nc HOST
                 PORT five times in the background: ss -tan 'dport = :PORT'
                 must show five ESTAB and no SYN-SENT.""")
def test_backlog(server):
    """Five clients that come at once are all connected, and all served.

    While the server is busy the kernel keeps the clients that come in a
    queue. A client for whom there is no room has to try again, a second
    later at the earliest.
    """
    server.quiet()
    server.freeze()
    peers = []
    for number in range(1, 6):
        expect_room(server, number)
        peers.append(server.connect())
    server.thaw()
    for number, peer in enumerate(peers):
        server.exchange(number, peer)
        peer.close()


def expect_room(server, number):
    """The queue of clients that wait has room for one more."""
    server.stage.wait(server.stage.settled, None, "the clients before are "
                      "not connected")
    row = server.listening()[0]
    if row.receive_queue > row.send_queue:
        waiting = count(row.receive_queue, "client")
        raise Failure("refused", f"client {number} of 5 finds no room in the "
                      f"queue: {waiting} there, and listen() was called with "
                      f"a backlog of {row.send_queue}")


@case("turn/next-client", role="server", group=TURNS,
      services=EVERY_SERVICE, clients=FOR_EVER,
      source="document 000; accept(2)",
      hints=["After one client comes the next.",
             "Call accept() in a loop, and close the connection, not the "
             "listening socket, when a client has left."],
      transports=STREAMS,
      by_hand="""Twice: printf 'hello\\n' | nc -N HOST PORT""")
def test_next_client(server):
    """When a client has left the next one is served.

    A server is there for all who come, not for the first one only.
    """
    for number in range(2):
        server.exchange(number).close()
        server.expect_alive("the end of a client")


@case("turn/many-clients", defects=(126,), role="server", group=TURNS,
      services=EVERY_SERVICE, clients=FOR_EVER,
      source="document 000; accept(2)",
      hints=["What one client leaves behind must not reach the next.",
             "Start each client with an empty buffer and fresh counters."],
      transports=STREAMS,
      by_hand="""for i in $(seq 20); do echo "client $i" | nc -N HOST PORT;
                 done""")
def test_many_clients(server):
    """Many clients in turn, twenty or three hundred, are all served alike.

    Each gets its own bytes and nothing of the client before it. The three
    hundred come where a server has places for many at a time: one that is not
    given back is lost for good.
    """
    many = server.target.contract.clients == "many"
    for number in range(300 if many else 20):
        with within(f"client {number + 1} of those in turn"):
            peer = server.exchange(number)
            peer.half_close()
            peer.expect_end()
            peer.close()
            server.expect_alive(f"the end of {peer.label}")


@case("turn/waiting-client", role="server", group=TURNS,
      clients=("in-turn",), source="listen(2), tcp(7): the kernel connects "
      "and receives before accept()",
      hints=["A client may have sent all, and left, before it is accepted.",
             "After accept() read until the end of the stream as always: the "
             "kernel has kept the bytes."],
      transports=STREAMS,
      by_hand="""nc HOST PORT, and leave it open. In a second terminal:
                 printf 'hello\\n' | nc -N HOST PORT
                 It waits. Then end the first nc: hello comes back.""")
def test_waiting_client(server):
    """A client that came while another was served is served afterwards.

    It was connected by the kernel, its bytes wait in the receive queue, and
    its end of stream with them. Nothing of that may be lost.
    """
    first = server.connect()
    server.quiet()                          # it is accepted
    server.exchange(1, first)
    second = server.connect()
    second.send(b"one that\nwaited: %s\n" % word())
    second.half_close()
    server.quiet()
    server.exchange(2, first)
    first.close()
    second.expect(b"one that\nwaited: %s\n" % word())
    second.expect_end()
