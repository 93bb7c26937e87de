"""Signals, seen from a client: interrupted calls, and a broken pipe."""
from sockstep.case import LINES, STREAMS, case
from sockstep.data import word

GROUP = "Signals"
LINE = b"What a signal broke off is done again: " + word()
ECHO = """python3 conformance/peers/echo_server_in_turn.py HOST PORT
# in a second terminal, must print the line and 0:
echo hello | strace -o /dev/null -e inject=%s \\
    CLIENT -H HOST -P PORT; echo $?"""
PLAN = """nc -l HOST PORT
# in a second terminal; nc must show the whole line:
echo hello | LD_PRELOAD=build/src/fault_preload.so \\
    SOCKSTEP_FAULTS='%s' CLIENT -H HOST -P PORT"""


def converse(launch_client, plan):
    """A line and its reply, with calls that go wrong by `plan`."""
    client = launch_client(plan=plan)
    client.type(LINE + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, LINE))
    client.finish()
    client.expect_replies(LINE)


@case("signal/client-recv-interrupted", role="client", services=LINES,
      group=GROUP,
      defects=(20,), source="recv(2), EINTR; signal(7), interruption of "
      "system calls",
      hints=["recv() can return -1 although nothing is wrong: look at errno.",
             "When recv() or poll() fails with EINTR, call it again, as "
             "often as it takes."],
      transports=STREAMS,
      by_hand=ECHO % "recvfrom:error=EINTR:when=1..2")
def test_recv_interrupted(launch_client):
    """A signal while the client waits for a reply does not end it.

    EINTR is no error of the connection: nothing was read, nothing is lost,
    and the same call made again gets the bytes. poll() says EINTR as well.
    """
    converse(launch_client, "recv@1-2=EINTR; wait@1-2=EINTR")


@case("signal/client-send-interrupted", role="client", services=LINES,
      group=GROUP,
      defects=(20,), source="send(2), EINTR; signal(7)",
      hints=["EINTR from send() says that no byte was taken yet.",
             "When send() fails with EINTR, call it again."],
      transports=STREAMS,
      by_hand=ECHO % "sendto:error=EINTR:when=1..2")
def test_send_interrupted(launch_client):
    """A signal that interrupts send() does not cost the line.

    The kernel took nothing of it, so the whole of it is to be sent again.
    """
    converse(launch_client, "send@1-2=EINTR")


@case("signal/client-short-then-interrupted", role="client", services=LINES,
      group=GROUP,
      defects=(22,), source="send(2): a signal after some bytes gives a short "
      "count; signal(7)",
      hints=["What if send() takes 3 bytes, and is interrupted before it "
             "takes more?",
             "Count what was taken, whatever comes after: EINTR leaves the "
             "count as it is."],
      transports=STREAMS,
      by_hand=PLAN % "send@1=short:3; send@2=EINTR; send@3=short:5")
def test_short_then_interrupted(launch_client):
    """After a short count and a signal, sending goes on where it stopped.

    Starting again from the first byte sends a part twice; giving up loses the
    rest.
    """
    converse(launch_client, "send@1=short:3; send@2=EINTR; send@3=short:5; "
             "send@4=EINTR")


@case("signal/client-connect-interrupted", role="client", services=LINES,
      group=GROUP,
      defects=(23,), source="POSIX.1-2008 connect(), EINTR: the connection "
      "is made asynchronously; connect(2), EINPROGRESS",
      hints=["After EINTR connect() goes on in the kernel. What would a "
             "second connect() say?",
             "Wait with poll() until the socket is writable, then ask "
             "getsockopt(SO_ERROR) how it went."],
      transports=STREAMS,
      by_hand="""
      python3 conformance/peers/echo_server_in_turn.py HOST PORT
      # in a second terminal, must print the line and 0:
      echo hello | LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='connect@1=late:EINTR' \\
          CLIENT -H HOST -P PORT; echo $?""")
def test_connect_interrupted(launch_client):
    """A signal that interrupts connect() costs neither client nor server.

    The connection is made all the same. A second connect() on that socket
    fails with EALREADY or EISCONN, and a second socket would be a second
    client to the server.
    """
    converse(launch_client, "connect@1=late:EINTR")


@case("signal/client-broken-pipe", role="client", services=LINES,
      group=GROUP, defects=(26,),
      source="send(2), EPIPE and MSG_NOSIGNAL; signal(7), SIGPIPE",
      hints=["Which signal comes with EPIPE, and what does it do to a "
             "program that has not said otherwise?",
             "Use MSG_NOSIGNAL, or ignore SIGPIPE; then test send() for -1."],
      transports=STREAMS,
      by_hand="""
      nc -l HOST PORT
      # in a second terminal, must print a message and 1, not 141:
      echo hello | LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='send@1=EPIPE' CLIENT -H HOST -P PORT; echo $?""")
def test_broken_pipe(launch_client):
    """A server that is gone when the client writes is told as an error.

    Writing to a connection that the peer has closed raises SIGPIPE, which
    kills the program without a word. It must say what failed and end with
    status 1.
    """
    client = launch_client(plan="send@1=signal:SIGSTOP")
    client.type(LINE + b"\n")
    peer = client.accept()
    client.wait_frozen()
    peer.half_close()
    peer.reset()
    client.thaw()
    client.end_input()
    client.expect_exit(1, "the server closed the connection")
    client.stage.expect_complaint()
