"""A client's run as a whole: its lines, its end, and a server that goes."""
import errno
import os

from sockstep.case import LINES, STREAMS, case
from sockstep.data import word
from sockstep.failure import Failure
from sockstep.transcript import count

RUN = "Life of a client"
ENDS = "End of stream and reset"
LINE = b"What goes out must come back: " + word()
REFUSED = os.strerror(errno.ECONNREFUSED)
#: A server by hand, once the line has come; `c` is the connection.
SERVE = """python3 -c 'import socket, struct, sys, time
c = socket.create_server(("HOST", PORT)).accept()[0]
line = c.recv(65536)
%s'
# in a second terminal:
%s"""
#: An echo server for experiments.
ECHO = "python3 conformance/peers/echo_server_in_turn.py HOST PORT\n"


def expect_failure_told(client, why):
    """The client ends with status 1 and has said what failed."""
    client.end_input()
    client.expect_exit(1, why)
    client.stage.expect_complaint()


@case("client/many-lines", role="client", services=LINES,
      group=RUN, messages=("many",),
      source="document 001 II: a line, its reply, and again",
      hints=["After a reply the next line is due, on the same connection.",
             "Put the exchange into a loop that ends at an empty line or at "
             "the end of input."],
      transports=STREAMS,
      by_hand=ECHO + """# in a second terminal:
      printf 'one\\ntwo\\nthree\\n' | CLIENT -H HOST -P PORT""")
def test_many_lines(client):
    """Every line gets its reply, on one connection and in the lines' order.

    A repeating client that connects anew for each line, stops after the
    first, or skips one is of no use for a conversation.
    """
    lines = [b"one", b"two lines", b"and then " + word()]
    client.type(b"".join(line + b"\n" for line in lines))
    client.end_input()
    client.echo(client.accept())
    client.finish()
    client.expect_replies(*lines)
    client.listener.nobody()


@case("client/empty-line", role="client", services=LINES,
      group=RUN, messages=("many",),
      source="document 001 II: if not line: break",
      hints=["What does an empty line mean to your client?",
             "getline() returns 1 for it, the newline alone: close and end "
             "with status 0."],
      transports=STREAMS,
      by_hand=ECHO + """# in a second terminal, a line and then an empty one:
      CLIENT -H HOST -P PORT""")
def test_empty_line(client):
    """An empty line ends the client, with status 0.

    It is how a person says goodbye. There is nothing to send, so a client that
    waits for a reply to it waits for ever.
    """
    client.type(LINE + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, LINE))
    client.quiet()
    client.type(b"\n")
    peer.until_end()
    peer.close()
    client.expect_exit(0, "an empty line was typed")


@case("client/no-input", role="client", services=LINES,
      group=RUN,
      source="getline(3): -1 at the end of input",
      hints=["What if the input ends before the first line?",
             "Test the result of getline() before the line is used; close "
             "and end with status 0."],
      transports=STREAMS,
      by_hand=ECHO + """# in a second terminal; must end at once and print 0:
      CLIENT -H HOST -P PORT < /dev/null; echo $?""")
def test_no_input(client):
    """Input that ends at once ends the client, with status 0.

    Nobody typed anything, so nothing is to be sent and no reply will come.
    """
    client.end_input()
    peer = client.accept()
    if sent := peer.until_end():
        raise Failure("wrong-bytes", f"{count(len(sent), 'byte')} came "
                      "although nothing was typed")
    peer.close()
    client.expect_exit(0, "there was no input")


@case("client/tail-of-input", role="client", services=LINES,
      group=RUN, defects=(123,),
      source="document 001: each line's reply is printed",
      hints=["When the input ends, which replies are still on their way?",
             "The end of input ends your sending only. Read on until all "
             "replies are there."],
      transports=STREAMS,
      by_hand=SERVE % ("time.sleep(1); c.send(line)",
                       "echo patience | CLIENT -H HOST -P PORT"))
def test_tail_of_input(client):
    """Replies that are under way when the input ends are printed.

    With `echo ... | client` the input ends long before the reply is there. A
    client that ends with its input loses the reply.
    """
    client.type(LINE + b"\n")
    client.end_input()
    peer = client.accept()
    line = client.read_line(peer, LINE)
    client.quiet()
    client.reply(peer, line)
    client.finish()
    client.expect_replies(LINE)


@case("client/exit-status", role="client", services=LINES,
      group=RUN,
      source="POSIX.1-2008 XCU 2.8.2: an exit status of 0 means success",
      hints=["What does `CLIENT ...; echo $?` print after a good run?",
             "Return 0 from main() when all went well, 1 after a failure."],
      transports=STREAMS,
      by_hand=ECHO + """# in a second terminal, must print 0:
      echo hello | CLIENT -H HOST -P PORT; echo $?""")
def test_exit_status(client):
    """A run in which every line got its reply ends with status 0.

    A shell script knows nothing of a client but its exit status.
    """
    client.type(LINE + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, LINE))
    client.end_input()
    peer.until_end()
    peer.close()
    client.expect_exit(0, "the line got its reply")


@case("client/ends-in-order", role="client", services=LINES,
      group=ENDS, defects=(34,),
      source="close(2); RFC 9293 3.6, 3.6.1: unread data turns a close into "
             "a reset",
      hints=["How does the server learn that you are done?",
             "Read every reply to its end, newline included, then close() "
             "the socket; don't set SO_LINGER."],
      transports=STREAMS,
      by_hand=SERVE % ("c.send(line); time.sleep(1); print(c.recv(1))",
                       "echo hello | CLIENT -H HOST -P PORT"))
def test_ends_in_order(client):
    """A client that is done closes, and the server sees an end of stream.

    Not a reset, which says that something went wrong and can cost data, and
    not a connection that stays open and keeps the server waiting.
    """
    client.type(LINE + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, LINE))
    client.quiet()
    client.end_input()
    peer.expect_end()


@case("client/server-ends-at-prompt", role="client", services=LINES,
      group=ENDS,
      messages=("many",), defects=(122,), source="poll(2); recv(2): 0 is the "
      "end of the stream",
      hints=["While your client waits for the keyboard, who looks at the "
             "socket?",
             "Wait with poll() for standard input and the socket at once."],
      transports=STREAMS,
      by_hand=SERVE % ("c.send(line); time.sleep(5)",
                       "CLIENT -H HOST -P PORT      # type one line, and wait"
                       ))
def test_server_ends_at_prompt(client):
    """When the server ends the connection, the client ends without input.

    A client that waits for the keyboard alone learns of it only with the next
    line, which is lost then.
    """
    client.type(LINE + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, LINE))
    client.quiet()
    peer.close()
    client.stage.wait_end(client.program)


@case("client/reply-cut", role="client", services=LINES,
      group=ENDS, defects=(43,),
      source="recv(2): 0 is the end of the stream",
      hints=["How does your client tell a whole reply from a part of one?",
             "An end of stream before the reply's newline is a failure: say "
             "so on standard error and end with status 1."],
      transports=STREAMS,
      by_hand=SERVE % ("c.send(line[:3])",
                       "echo abcdef | CLIENT -H HOST -P PORT; echo $?"))
def test_reply_cut(launch_client):
    """A reply that is cut off is a failure: status 1 and a message.

    The server may end after any byte of the reply, or before the first. A
    client that ends with status 0 then passes off a part as the whole.
    """
    line = word()
    for offset in range(len(line)):
        client = launch_client()
        client.type(line + b"\n")
        peer = client.accept()
        peer.send(client.read_line(peer, line)[:offset])
        peer.close()
        expect_failure_told(client, f"{count(offset, 'byte')} of "
                            f"{len(line) + 1} came back before the end of "
                            "the stream")


@case("client/reply-reset", role="client", services=LINES,
      group=ENDS, defects=(43,),
      source="recv(2), ECONNRESET; tcp(7)",
      hints=["recv() can return -1: what does your client do then?",
             "Say what failed and why (strerror), and end with status 1."],
      by_hand=SERVE % ("""c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
             struct.pack("ii", 1, 0)); c.close()""",
                       "echo hello | CLIENT -H HOST -P PORT; echo $?"))
def test_reply_reset(client):
    """A reset in place of the reply is a failure: status 1 and a message.

    It says that the server is gone or gave up. The client must neither crash
    nor end as if all were well.
    """
    client.type(LINE + b"\n")
    peer = client.accept()
    client.read_line(peer, LINE)
    client.quiet()
    peer.reset()
    expect_failure_told(client, "the connection was reset")


@case("client/refused", role="client", group=ENDS, defects=(44,),
      services=(*LINES, "greeting"),
      source="connect(2), ECONNREFUSED",
      hints=["What does connect() return where no server is?",
             "Print `program: what: why` on standard error, with strerror() "
             "for the why, and end with status 1."],
      by_hand="""
      # nobody listens on port 1:
      echo hello | CLIENT -H 127.0.0.1 -P 1; echo $?""")
def test_refused(stage, launch_client):
    """Where no server listens, the client says so and ends with status 1.

    The message goes to standard error, since standard output is for replies.
    """
    client = launch_client(listener=stage.listen(backlog=-1))
    client.type(LINE + b"\n")
    client.end_input()
    client.expect_exit(1, "the connection is refused")
    stage.expect_complaint(REFUSED)
    client.expect_no_output()


@case("client/socket-error", role="client", group=RUN, defects=(44,),
      services=(*LINES, "greeting"),
      source="socket(2), EMFILE",
      hints=["socket() can fail. What is passed to connect() then?",
             "Test each call for -1, say which one failed and why, and end "
             "with status 1."],
      transports=STREAMS,
      by_hand="""
      echo hello | LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='socket@*=EMFILE' CLIENT -H HOST -P PORT; echo $?""")
def test_socket_error(launch_client):
    """A client that gets no socket says so and ends with status 1.

    Descriptors can be used up. Going on with -1 makes the next call fail for
    another reason (EBADF), which sends the reader of the message astray.
    """
    client = launch_client(plan="socket@*=EMFILE")
    client.type(LINE + b"\n")
    client.end_input()
    client.expect_exit(1, "socket() fails with EMFILE")
    client.stage.expect_complaint(os.strerror(errno.EMFILE))
    client.expect_no_output()


@case("client/output-full", role="client", services=LINES,
      group=RUN, defects=(118,),
      source="full(4); write(2), ENOSPC; fflush(3)",
      hints=["printf() and fwrite() can fail, and often only when the buffer "
             "is written out.",
             "Test fflush(stdout) and ferror(stdout), at the end at least; "
             "say what failed and end with status 1."],
      transports=STREAMS,
      by_hand=ECHO + """# in a second terminal, must print a message and 1:
      echo hello | CLIENT -H HOST -P PORT > /dev/full; echo $?""")
def test_output_full(launch_client):
    """A reply that can't be written to standard output is a failure.

    The disk may be full. A client that ends with status 0 all the same makes
    the one who reads the file believe that this is all.
    """
    client = launch_client(stdout="/dev/full")
    client.type(LINE + b"\n")
    client.end_input()
    client.echo(client.accept())
    for peer in client.stage.peers:
        peer.close()
    expect_failure_told(client, "standard output is full")
