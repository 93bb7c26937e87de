"""A server that speaks first: one greeting for each client, then the end."""
from sockstep.case import SHOULD, case
from sockstep.failure import Failure
from sockstep.services import GREETING

STREAM = "Byte stream"
ENDS = "End of stream and reset"
SHORT = "Short writes and back-pressure"
SERVICE = dict(role="server", services=("greeting",))
#: A server under a plan of faults, and a client.
PLAN = """LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_FAULTS='%s' \\
    SERVER -P PORT
# in a second terminal, must print the whole greeting:
nc -d HOST PORT"""


@case("greeting/exact", **SERVICE, group=STREAM,
      source="document 002, the server; send(2); close(2)",
      hints=["How many bytes does `nc -d HOST PORT | wc -c` count?",
             "Send 24 bytes: no newline, and not the NUL that ends a string "
             "in C (sizeof counts it). Then close the connection."],
      by_hand="nc -d HOST PORT | od -c      # 24 bytes, and nc ends by itself")
def test_exact(server):
    """A client gets the 24 bytes of the greeting, then the end of the stream.

    The client sends nothing and can't know how long the greeting is: only the
    end of the stream tells that it is over. A byte too much, such as the NUL
    of a C string, belongs to the message as much as any other.
    """
    peer = server.connect()
    peer.expect(GREETING)
    peer.expect_end()


@case("greeting/short-send", **SERVICE, group=SHORT, defects=(13, 14),
      plans=True, source="send(2): it returns the number of bytes taken",
      hints=["send() says how many bytes it took. Does your program look?",
             "Send on from the first byte that was not taken, until none is "
             "left."],
      by_hand=PLAN % "send@*=short:5")
def test_short_send(launch_server):
    """The greeting arrives whole where send() takes a few bytes at a time.

    The kernel may take less than it is given. What it did not take is not
    sent by anybody unless the program does so.
    """
    server = launch_server(plan="send@*=short:5")
    peer = server.connect()
    peer.expect(GREETING)
    peer.expect_end()


@case("greeting/send-interrupted", **SERVICE, group="Signals", defects=(20,),
      plans=True, source="send(2), EINTR; signal(7), interruption of system "
      "calls",
      hints=["send() can return -1 although nothing is wrong: look at errno.",
             "When send() fails with EINTR nothing was sent: call it again "
             "with the same bytes."],
      by_hand=PLAN % "send@1-2=EINTR")
def test_send_interrupted(launch_server):
    """A signal that interrupts send() does not cost the client its greeting.

    EINTR says that no byte was taken yet, so that the same bytes can be sent
    again without doubling any.
    """
    server = launch_server(plan="send@1-2=EINTR")
    peer = server.connect()
    peer.expect(GREETING)
    peer.expect_end()


@case("greeting/leaves-at-once", **SERVICE, group=ENDS, defects=(25, 37),
      source="send(2), EPIPE and MSG_NOSIGNAL; signal(7), SIGPIPE",
      hints=["A client may be gone before the server sends its first byte. "
             "What does send() do then?",
             "Give send() the flag MSG_NOSIGNAL, or ignore SIGPIPE, and let "
             "an error of send() end that connection alone."],
      by_hand="""
      # stopped, the server meets a client that has left already
      SERVER -P PORT & p=$!; sleep 1; kill -STOP $p
      python3 -c "import socket, struct
      s = socket.create_connection(('HOST', PORT)); s.shutdown(1)
      s.setsockopt(1, socket.SO_LINGER, struct.pack('ii', 1, 0))"
      kill -CONT $p; sleep 1
      nc -d HOST PORT                   # must print the greeting""")
def test_leaves_at_once(server):
    """A client that has left before it is greeted does not end the server.

    It had ended its stream and was reset: sending to it raises SIGPIPE, whose
    default action ends the whole process. Anybody could stop the server so.
    """
    server.freeze()
    peer = server.connect()
    peer.half_close()
    peer.reset()
    server.thaw()
    server.expect_alive("a client that left at once")
    peer = server.connect()
    peer.expect(GREETING)


@case("greeting/unread-input", **SERVICE, group=ENDS, level=SHOULD,
      defects=(36,), source="RFC 9293 3.6.1; RFC 2525 2.17; RFC 1122 "
      "4.2.2.13: a close with unread data sends a reset",
      hints=["What happens to bytes that a client has sent and your server "
             "never reads?",
             "Before close(), take what is there: recv() with MSG_DONTWAIT "
             "until it has none left."],
      by_hand="""
      # ConnectionResetError shows the fault
      SERVER -P PORT & p=$!; sleep 1; kill -STOP $p
      python3 -c "import socket, time
      s = socket.create_connection(('HOST', PORT)); s.sendall(b'hello')
      time.sleep(1); print(s.recv(99)); print(s.recv(99))" &
      sleep 0.5; kill -CONT $p""")
def test_unread_input(server):
    """A client that has sent something gets the end of the stream, no reset.

    A close() with unread bytes sends a reset, and a reset may make the
    client's kernel throw away the greeting before the client has read it. To
    type a key in telnet is enough.
    """
    server.freeze()
    peer = server.connect()
    peer.send(b"Hello? Is there anybody?\r\n")
    server.thaw()
    peer.expect(GREETING)
    peer.expect_end()


@case("document/greeting-client", **SERVICE, group="The document",
      source="document 002, the client",
      hints=["The document's client connects, prints what one recv() brings, "
             "and leaves.",
             "Send the whole greeting at once, before anything comes."],
      by_hand="python3 conformance/peers/greeting_client.py HOST PORT")
def test_python_client(server):
    """The server serves the document's own client.

    It is what the readers of the document have. It takes what one recv()
    brings for the whole greeting.
    """
    host, port = server.address
    client = server.stage.assist("client", "greeting_client.py", host,
                                 str(port))
    server.stage.wait(client.ending, None, "the document's client does not "
                      "end", program=server.program)
    due = f"{GREETING!r}\n".encode()
    if client.ending().status != 0 or client.stdout != due:
        raise Failure("output", "the document's client printed "
                      f"{client.stdout!r} instead of {due!r} and ended with "
                      f"{client.ending()}",
                      client.stderr.decode(errors="replace")[-500:])
    server.done()
