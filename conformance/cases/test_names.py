"""Names and addresses, seen from servers and clients.

What a name means is said by a hosts file of the program's own: no name server
is asked, and the machine's own names don't matter.
"""
import errno
import os
import socket

from sockstep import names
from sockstep.case import SHOULD, case
from sockstep.data import word
from sockstep.failure import Failure, within
from sockstep.listener import LOOPBACK
from sockstep.services import GREETING
from sockstep.transcript import count

GROUP = "Names and addresses"
WILDCARD = "0.0.0.0"
PAIR = ("127.0.0.2", "127.0.0.3")
CLIENT = dict(role="client", group=GROUP, options=True,
              services=("greeting",))
SERVER = dict(role="server", group=GROUP, options=True,
              services=("greeting",))
#: A hosts file that one program sees in place of the system's.
HOSTS = "printf '%s' > /tmp/hosts\n"
WITH_HOSTS = "build/src/launch file=/etc/hosts:/tmp/hosts -- "
#: A server of nc's at an address, and a client that is given a name.
MEET = """nc -l -s %s -p PORT
# in a second terminal, must reach it:
""" + WITH_HOSTS + """\\
    CLIENT -H %s -P PORT"""


def exchange(client):
    """The client meets its server: a whole exchange of its service."""
    peer = client.accept()
    if client.target.contract.service == "greeting":
        peer.send(GREETING)
        peer.close()
        client.expect_exit(0, "the greeting came whole")
        due = GREETING
    else:
        due = b"Who is %s?" % word()
        client.type(due + b"\n")
        peer.send(client.read_line(peer, due))
        client.finish()
    client.expect_replies(due)


# -- clients -----------------------------------------------------------------
@case("names/client-name", **CLIENT, source="getaddrinfo(3); hosts(5)",
      hints=["-H takes a name as well as an address.",
             "Let getaddrinfo() make the address: it takes both."],
      by_hand=HOSTS % "127.0.0.2 house\\n" + MEET % ("127.0.0.2", "house"))
def test_client_name(stage, launch_client):
    """A client finds its server by a name.

    People know names. What address a name has is the business of the
    system's resolver, which looks into /etc/hosts and asks name servers.
    """
    client = launch_client(listener=stage.listen(host=PAIR[0]), host="house",
                           files=names.private(house=PAIR[0]))
    exchange(client)


@case("names/every-address", role="client", group=GROUP, options=True,
      services=("greeting", "echo"), defects=(93,),
      source="getaddrinfo(3): the program should try the addresses in order; "
             "connect(2), ECONNREFUSED",
      hints=["A name may have several addresses, and the server may be down "
             "at the first.",
             "Loop over the list of getaddrinfo(): socket(), connect(); if "
             "that fails, close() and go to the next element."],
      by_hand=HOSTS % "127.0.0.2 pair\\n127.0.0.3 pair\\n" +
      MEET % ("127.0.0.3", "pair") + "\n# and so with 127.0.0.2")
def test_every_address(stage, launch_client):
    """If the first address refuses the connection, the next one is tried.

    A service with several addresses is up as long as one of them answers, but
    only for clients that ask at all of them.
    """
    for up in PAIR:
        with within(f"with the addresses {' and '.join(PAIR)} and a server "
                    f"at {up} alone"):
            exchange(launch_client(
                listener=stage.listen(host=up), host="pair",
                files=names.private(pair=" ".join(PAIR))))


@case("names/failed-try-closed", role="client", group=GROUP, options=True,
      services=("greeting", "echo"), defects=(94,), plans=True,
      source="close(2); connect(2), NOTES: after a failure the socket's "
             "state is unspecified",
      hints=["What becomes of the socket whose connect() has failed?",
             "close() it before the next try: each try makes its own."],
      by_hand=HOSTS % "127.0.0.2 n\\n127.0.0.3 n\\n127.0.0.4 n\\n" +
      """nc -l -s 0.0.0.0 -p PORT
# in a second terminal; must show one socket:
LD_PRELOAD=build/src/fault_preload.so \\
SOCKSTEP_FAULTS='connect@1-2=ECONNREFUSED' \\
    """ + WITH_HOSTS + """\\
    CLIENT -H n -P PORT & sleep 1; ls -l /proc/$!/fd""")
def test_failed_try_closed(stage, launch_client):
    """A try that fails leaves no descriptor behind.

    A client that reconnects for days, at a name with many addresses, would
    run out of descriptors.
    """
    client = launch_client(
        listener=stage.listen(host=WILDCARD), host="many",
        files=names.private(many="127.0.0.2 127.0.0.3 127.0.0.4"),
        plan="connect@1-2=ECONNREFUSED")
    peer = client.accept()
    client.quiet()
    held = {use for use in client.program.descriptors().values()
            if use.startswith("socket:")}       # dup() makes no other socket
    if len(held) > 1:
        raise Failure("leak", "with one connection the client holds "
                      f"{count(len(held), 'socket')}: those of its failed "
                      "tries are still open")
    peer.close()


@case("names/client-ipv6", **CLIENT, defects=(98,),
      source="ipv6(7), struct sockaddr_in6; getaddrinfo(3), ai_addrlen",
      hints=["An address of IPv6 has 16 bytes. Where does your program put "
             "it?",
             "Pass ai_family to socket(), and ai_addr with ai_addrlen to "
             "connect(), as getaddrinfo() made them; ask it for AF_UNSPEC."],
      by_hand="""
      nc -l -s ::1 -p PORT
      # in a second terminal, must reach it:
      CLIENT -H ::1 -P PORT""")
def test_client_ipv6(stage, launch_client):
    """A client connects to an address of IPv6.

    An address of the new family does not fit into a struct sockaddr_in; what
    is cut off makes connect() fail, or leads somewhere else.
    """
    names.need_ipv6()
    exchange(launch_client(listener=stage.listen(host="::1"), host="::1"))


@case("names/client-both-families", **CLIENT, defects=(93,),
      source="getaddrinfo(3), AF_UNSPEC; RFC 6724: the order of addresses; "
             "document 002: telnet tries ::1, then 127.0.0.1",
      hints=["localhost is ::1 and 127.0.0.1. Which does your client try?",
             "Ask getaddrinfo() for AF_UNSPEC and try every element of its "
             "list."],
      by_hand=HOSTS % "::1 both\\n127.0.0.1 both\\n" +
      MEET % ("127.0.0.1", "both") + "\n# and so with ::1")
def test_client_both_families(stage, launch_client):
    """A server is found at either family's address of its name.

    Many servers listen on one family only, and the name says nothing of that.
    telnet in the document tries ::1, is refused, and reaches 127.0.0.1.
    """
    names.need_ipv6()
    for up in ("::1", LOOPBACK):
        with within(f"with the addresses ::1 and {LOOPBACK} and a server at "
                    f"{up} alone"):
            exchange(launch_client(
                listener=stage.listen(host=up), host="both",
                files=names.private(both=f"::1 {LOOPBACK}")))


@case("names/connect-error", defects=(132,), **CLIENT, plans=True,
      source="connect(2), ENETUNREACH, EHOSTUNREACH, ETIMEDOUT; strerror(3)",
      hints=["connect() fails for several reasons, and errno tells which.",
             "Print strerror(errno), of the errno that connect() left: save "
             "it before you call anything else."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='connect@*=ETIMEDOUT' CLIENT -H HOST -P PORT
      # must say: Connection timed out""")
def test_connect_error(launch_client):
    """A failure to connect is told by its reason, with status 1.

    "Unreachable" sends the reader to the network, "timed out" to a firewall
    or to the machine, "refused" to the server program.
    """
    for number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT):
        name = errno.errorcode[number]
        client = launch_client(plan=f"connect@*={name}")
        with within(f"connect() fails with {name}"):
            client.expect_exit(1, "no connection can be made")
            client.stage.expect_complaint(os.strerror(number))
            client.expect_no_output()


@case("names/each-failure-told", **CLIENT, plans=True, level=SHOULD,
      defects=(93, 132),
      source="connect(2), ERRORS; getnameinfo(3), NI_NUMERICHOST; document "
             "002: telnet tells each address that it tries",
      hints=["Two addresses may fail for two reasons. Which one does your "
             "client tell?",
             "Tell each try that fails: its address, as getnameinfo() "
             "writes it, and strerror(errno)."],
      by_hand=HOSTS % "127.0.0.2 pair\\n127.0.0.3 pair\\n" +
      """LD_PRELOAD=build/src/fault_preload.so \\
SOCKSTEP_FAULTS='connect@1=ENETUNREACH; connect@2=ETIMEDOUT' \\
    """ + WITH_HOSTS + """\\
    CLIENT -H pair -P PORT""")
def test_each_failure_told(stage, launch_client):
    """If every address fails, each is told with its own reason.

    The last error alone misleads: it may be that of an address that never
    works, while the one that should work fails for another reason.
    """
    client = launch_client(
        listener=stage.listen(host=WILDCARD), host="pair",
        files=names.private(pair=" ".join(PAIR)),
        plan="connect@1=ENETUNREACH; connect@2=ETIMEDOUT")
    client.expect_exit(1, "no address can be reached")
    for number in (errno.ENETUNREACH, errno.ETIMEDOUT):
        stage.expect_complaint(os.strerror(number))
    told = client.program.stderr.decode(errors="replace")
    for address in PAIR:
        if address not in told:
            raise Failure("output", f"standard error does not tell that "
                          f"{address} was tried", told[-500:])


@case("names/client-try-again", **CLIENT, defects=(96,),
      source="getaddrinfo(3), EAI_AGAIN; gai_strerror(3)",
      hints=["A name may be unknown, or nobody may be there to ask. Which "
             "one does your client tell?",
             "Print gai_strerror() of what getaddrinfo() returned."],
      by_hand="""
      # the name server is asked at an address where none is
      echo nameserver 127.0.0.253 > /tmp/resolv
      build/src/launch file=/etc/resolv.conf:/tmp/resolv -- \\
          CLIENT -H where.example -P PORT; echo $?""")
def test_client_try_again(stage, launch_client):
    """That no name server answers is told apart from an unknown name.

    The first will be over some time, the second will not. They are errors of
    the resolver, which errno knows nothing of.
    """
    client = launch_client(host="where.example", files=names.no_server())
    client.expect_exit(1, "no name server answers")
    stage.expect_complaint(*names.tell(socket.EAI_AGAIN))
    client.expect_no_output()


# -- servers -----------------------------------------------------------------
@case("names/server-name", **SERVER, source="getaddrinfo(3), AI_PASSIVE; "
      "hosts(5)",
      hints=["-H takes a name as well as an address.",
             "Let getaddrinfo() make the address that you bind: it takes "
             "both."],
      by_hand=HOSTS % "127.0.0.2 house\\n" + WITH_HOSTS + """\\
    SERVER -H house -P PORT
# ss -tlnp must show 127.0.0.2 for it""")
def test_server_name(launch_server):
    """A server listens at the address of the name that -H gives.

    So a configuration can say where a service is without numbers in it.
    """
    server = launch_server(host="house",
                           files=names.private(house=PAIR[0]))
    server.address = (PAIR[0], server.port)
    server.exchange()
    found = sorted({row.local[0] for row in server.listening()})
    if found != [PAIR[0]]:
        raise Failure("call", f"the name stands for {PAIR[0]}, and the server "
                      f"listens at {' and '.join(found)}")


@case("names/server-ipv6", **SERVER, defects=(98,),
      source="ipv6(7), struct sockaddr_in6; getaddrinfo(3), ai_addrlen",
      hints=["An address of IPv6 has 16 bytes. Where does your program put "
             "it?",
             "Pass ai_family to socket(), and ai_addr with ai_addrlen to "
             "bind(); give accept() a struct sockaddr_storage, or NULL."],
      by_hand="""SERVER -H ::1 -P PORT
                 # in a second terminal:
                 nc -d ::1 PORT""")
def test_server_ipv6(launch_server):
    """With -H and an address of IPv6 the server listens there.

    The new family is in use beside the old one everywhere; some networks have
    nothing else.
    """
    names.need_ipv6()
    server = launch_server(host="::1")
    server.exchange()


@case("names/server-both-families", **SERVER, defects=(97,),
      source="ipv6(7), IPV6_V6ONLY; RFC 3493 5.3; document 002: telnet is "
             "refused at ::1",
      hints=["Who types localhost may mean ::1. Does your server listen "
             "there?",
             "Bind one IPv6 socket to :: with IPV6_V6ONLY set to 0: it takes "
             "clients of both families. Or bind two sockets; then set the "
             "option to 1 on that of IPv6, or the second bind() fails."],
      by_hand="""SERVER -P PORT
                 # in a second terminal, both must be greeted:
                 nc -d 127.0.0.1 PORT; nc -d ::1 PORT""")
def test_server_both_families(launch_server):
    """Without -H a server is reached by IPv4 and by IPv6, on one port.

    "All interfaces" means every address of the machine. A client that knows
    only one of them, or tries that one first, must not find the door closed.
    """
    names.need_ipv6()
    server = launch_server(host=None)
    for address in (LOOPBACK, "::1"):
        with within(f"at {address}"):
            server.address = (address, server.port)
            server.exchange().close()


@case("names/server-without-ipv6", **SERVER, plans=True, defects=(97,),
      source="socket(2), EAFNOSUPPORT; ipv6(7)",
      hints=["Some machines have IPv6 switched off. Does your server start "
             "there?",
             "If the IPv6 socket can't be had, listen on an IPv4 socket."],
      by_hand="""strace -o /dev/null \\
          -e inject=socket:error=EAFNOSUPPORT:when=1 SERVER -P PORT
      # in a second terminal, must be greeted:
      nc -d 127.0.0.1 PORT""")
def test_server_without_ipv6(launch_server):
    """On a machine without IPv6 the server serves the clients of IPv4.

    Asking for both families must not make the one that is there depend on the
    other.
    """
    first = launch_server(host=None, plan="socket@1000=EMFILE")
    first.program.plan_may_miss = True
    first.exchange()
    first.done()
    newer = [call.number for call in first.program.calls()
             if call.text.startswith("socket(AF_INET6 ")]
    if not newer:
        return                              # it asks for IPv4 alone
    server = launch_server(host=None, plan="; ".join(
        f"socket@{number}=EAFNOSUPPORT" for number in newer))
    server.exchange()
