"""The end of a connection, seen from a server: FIN, reset, close."""
import re

from sockstep.case import EVERY_SERVICE, FOR_EVER, LINES, SHOULD, STREAMS, case
from sockstep.data import line, word
from sockstep.failure import Failure

GROUP = "End of stream and reset"
LINE = b"The last words of a client: %s\n" % word()
_RESET = """python3 -c "import socket, struct
s = socket.create_connection(('HOST', PORT)); s.sendall(b'half')
s.setsockopt(1, socket.SO_LINGER, struct.pack('ii', 1, 0))"
"""


@case("end/half-close", role="server", group=GROUP,
      services=LINES, defects=(32,),
      source="shutdown(2), SHUT_WR; RFC 9293 3.6: a closed direction does not "
             "close the other; poll(2), POLLHUP and POLLRDHUP",
      hints=["The client has ended its stream, not the connection: it still "
             "reads.",
             "Send back all that came before recv() returned 0, and only "
             "then close."],
      transports=STREAMS,
      by_hand="""
      # frozen, the server meets both at once
      SERVER -P PORT & p=$!; sleep 1; kill -STOP $p
      (echo 'last words' | nc -N HOST PORT) & sleep 1; kill -CONT $p""")
def test_half_close(server):
    """A message that comes together with the client's FIN is echoed whole.

    Many clients send their request, end their stream and then read: nc -N
    does, and so does shutdown(SHUT_WR). Their FIN says that nothing more
    comes; it does not say that nobody reads.
    """
    server.freeze()
    peer = server.connect()
    peer.send(LINE)
    peer.half_close()
    server.thaw()
    peer.expect(server.service.reply(LINE))


@case("end/closes-after-fin", role="server", group=GROUP,
      services=LINES, defects=(33, 55),
      source="close(2); RFC 9293 3.6, case 2: the state CLOSE-WAIT lasts "
             "until the program closes",
      hints=["Who tells the client that there is nothing more to read?",
             "Call close() on the connection when recv() has returned 0 and "
             "the reply is sent."],
      transports=STREAMS,
      by_hand="""
      echo hello | nc -N HOST PORT      # it must end by itself
      ss -tn state close-wait           # no connection of PORT may stay""")
def test_closes_after_fin(server):
    """The server closes its end in order after the client's end of stream.

    A client that reads until the end of the stream waits for ever otherwise,
    and each connection left open costs the server a descriptor.
    """
    peer = server.connect()
    peer.send(LINE)
    peer.half_close()
    peer.expect(server.service.reply(LINE))
    peer.expect_end()


@case("end/spin-at-end", role="server", group=GROUP,
      services=LINES, defects=(40,),
      source="recv(2): it returns 0 when the peer has shut down in order",
      hints=["recv() returns 0 at once, again and again, after the end of the "
             "stream.",
             "Keep 0 and -1 apart: 0 ends the loop of this connection."],
      transports=STREAMS,
      by_hand="""
      SERVER -P PORT & p=$!; sleep 1
      printf hello | nc -N HOST PORT & sleep 1
      top -b -n 1 -p $p                 # it must use no processor""")
def test_spin_at_end(server):
    """The server does not spin after a client's end of stream.

    A loop that takes 0 for "nothing yet" calls recv() for ever and burns a
    whole processor for one client that has gone.
    """
    peer = server.connect()
    peer.send(LINE[:-1])
    peer.expect(server.service.reply(LINE[:-1]))    # it does read its clients
    peer.half_close()
    server.quiet()


@case("end/reply-survives-close", role="server", group=GROUP,
      services=LINES, defects=(42,),
      source="socket(7), SO_LINGER; close(2); RFC 9293 3.6: close means "
             "\"I have no more data to send\"",
      hints=["When close() returns, bytes of the reply may still wait in the "
             "kernel. What does the program tell the kernel to do with them?",
             "Leave SO_LINGER alone: with a time of 0 close() throws the "
             "reply away and sends a reset."],
      by_hand="""
      # a client with a small buffer that reads late; 24000 is due
      python3 -c "import socket, time
      s = socket.socket(); s.setsockopt(1, socket.SO_RCVBUF, 4096)
      s.connect(('HOST', PORT)); s.sendall(b'x' * 23999 + b'\\\\n')
      s.shutdown(1); time.sleep(1); n = 0
      while d := s.recv(4096): n += len(d)
      print(n)" """)
def test_reply_survives_close(server):
    """A reply that the client reads late arrives whole after the close.

    The kernel goes on to send what it has taken, even after the server's
    end, unless the server asks it to drop that.
    """
    message = line(24_000)
    peer = server.connect(receive_buffer=4096)
    peer.send(message)
    peer.half_close()
    server.quiet()
    peer.expect(server.service.reply(message))


@case("end/unread-bytes", role="server", group=GROUP, level=SHOULD,
      services=LINES, messages=("one",), defects=(36,),
      source="RFC 9293 3.6.1; RFC 2525 2.17; RFC 1122 4.2.2.13: a close with "
             "unread data sends a reset",
      hints=["close() sends a reset if bytes that came were never read, and "
             "a reset can overtake the reply.",
             "After the reply: shutdown(SHUT_WR), then recv() until it "
             "returns 0 or a time limit is over, then close()."],
      by_hand="""
      # ConnectionResetError shows the fault
      python3 -c "import socket, time
      s = socket.create_connection(('HOST', PORT))
      s.sendall(b'one\\ntwo' * 9000); time.sleep(0.3)
      while s.recv(65536): pass"
      """)
def test_unread_bytes(server):
    """Bytes after the message do not turn the end of the reply into a reset.

    The client's kernel may throw away a reply that was not read yet when the
    reset comes.
    """
    message = line(24_000)
    server.freeze()
    peer = server.connect(receive_buffer=4096)
    peer.send(message + line(8_000))
    server.thaw()
    server.quiet()
    peer.expect(server.service.reply(message))
    peer.until_end()
    if peer.end == "reset":
        raise Failure("reset", "the connection was reset after the reply, "
                      "since bytes that followed the message were unread at "
                      "close()")


@case("reset/next-client", role="server", group=GROUP,
      services=EVERY_SERVICE, clients=FOR_EVER,
      defects=(37,),
      source="recv(2), ECONNRESET (POSIX.1-2008); tcp(7)",
      hints=["Whose fault is ECONNRESET: the server's or one client's?",
             "An error of recv() or send() ends that connection: close it and "
             "go on with accept()."],
      by_hand=_RESET + "echo hello | nc -N HOST PORT     # it must answer")
def test_reset_next_client(server):
    """A client that resets its connection does not end the server.

    A program that crashes, or whose user stops it, leaves a reset behind.
    The clients after it must be served.
    """
    server.exchange().reset()
    serves(server, "a client's reset")


@case("reset/before-accept", role="server", group=GROUP, defects=(38,),
      services=EVERY_SERVICE, clients=FOR_EVER,
      source="accept(2); recv(2), ECONNRESET; getpeername(2), ENOTCONN; UNIX "
             "Network Programming vol. 1, 5.11",
      hints=["A connection can break off while it waits in the queue of the "
             "listening socket. Which call is the first to fail then?",
             "On Linux accept() succeeds and recv() fails with ECONNRESET: "
             "close that connection and go on."],
      transports=STREAMS,
      by_hand="SERVER -P PORT & p=$!; sleep 1; kill -STOP $p\n" + _RESET +
              "kill -CONT $p\n"
              "echo hello | nc -N HOST PORT     # it must answer")
def test_reset_before_accept(server):
    """A connection that was reset before accept() does no harm.

    The client is gone already when the server gets its connection. The next
    one must be served all the same.
    """
    server.freeze()
    server.connect().reset()
    server.thaw()
    server.quiet()
    serves(server, "a client's reset before accept()")


@case("reset/mid-message", role="server", group=GROUP, plans=True, clients=("one",),
      defects=(31, 37),
      source="the program contract; recv(2) and send(2), ECONNRESET",
      hints=["The server must tell two ends apart: the message was served, "
             "and the client broke off.",
             "When recv() or send() fails, write \"program: what: why\" to "
             "standard error and return 1 from main()."],
      by_hand="SERVER -P PORT & p=$!; sleep 1\n" + _RESET +
              "wait $p; echo $?      # 1 is due, and a message")
def test_reset_mid_message(launch_server):
    """A reset before the message is complete ends the server with status 1.

    The failure must be visible in both ways: a message for people on
    standard error, and a status for scripts.
    """
    for sent in (b"", LINE[:9]):
        server = launch_server(plan="recv@1=signal:SIGSTOP" if sent else "")
        peer = server.connect()
        if sent:
            peer.send(sent)
            server.wait_frozen()
        else:
            server.quiet()
        peer.reset()
        if sent:
            server.thaw()
        server.expect_exit(1, "the client broke off")
        if not re.match(rb"[^:\n]+: [^\n]*: [^\n]+\n", server.program.stderr):
            raise Failure("output", "no line of the form \"program: what: "
                          "why\" is on standard error, although the client "
                          "broke off")


@case("reset/spin", role="server", group=GROUP, plans=True,
      services=LINES, defects=(41,),
      source="poll(2), POLLERR and POLLHUP; recv(2) and send(2), ECONNRESET "
             "and EPIPE",
      hints=["Which results of recv(), send() and poll() lead back to the "
             "same call? Can that go on for ever?",
             "Call again only after EINTR or EAGAIN; every other error, and "
             "POLLERR or POLLHUP, ends the connection."],
      by_hand="SERVER -P PORT & p=$!; sleep 1\n" + _RESET +
              "top -b -n 1 -p $p     # it must use no processor")
def test_reset_spin(launch_server):
    """The server does not spin after a client's reset.

    The kernel reports a broken connection at every call. A loop that tries
    again, or that looks at POLLIN alone, never ends.
    """
    server = launch_server()
    server.program.may_end = True               # that is another case's
    peer = server.connect()
    peer.send(LINE[:-1])
    peer.expect(server.service.reply(LINE[:-1]))    # it does read its clients
    server.quiet()
    peer.reset()
    server.quiet()
    server = launch_server(plan="send@1=signal:SIGSTOP")
    server.program.may_end = True
    peer = server.connect()
    peer.send(LINE[:-1])
    server.wait_frozen()                        # before it sends
    peer.reset()
    server.thaw()
    server.quiet()


@case("accept/aborted", role="server", group=GROUP, defects=(39,),
      services=EVERY_SERVICE, plans=True,
      source="accept(2), ECONNABORTED and the section on error handling; "
             "POSIX.1-2008 accept()",
      hints=["Which errors of accept() are about one connection, and which "
             "about the listening socket?",
             "After ECONNABORTED call accept() again, as after EINTR."],
      transports=STREAMS,
      by_hand="""
      strace -o /dev/null -e inject=accept,accept4:error=ECONNABORTED:when=1 \\
          SERVER -P PORT
      # in a second terminal:
      echo hello | nc -N HOST PORT""")
def test_accept_aborted(launch_server):
    """ECONNABORTED from accept() does not end the server.

    It says that one connection was gone before it could be accepted. The
    others wait in the queue.
    """
    server = launch_server(plan="accept@1=signal:SIGSTOP+ECONNABORTED")
    peer = server.connect()
    server.wait_frozen()
    server.thaw()
    server.expect_alive("ECONNABORTED from accept()")
    server.exchange(peer=peer)


def serves(server, after: str) -> None:
    """The server serves another client after `after` has happened."""
    server.expect_alive(after)
    server.exchange()
