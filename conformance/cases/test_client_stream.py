"""The byte stream, seen from a client: whole lines out, whole replies in.

The replies are the lines themselves, whatever the service: a client prints
what comes.
"""
import select

from sockstep.case import LINES, STREAMS, case
from sockstep.data import pattern, word
from sockstep.failure import Failure, within
from sockstep.transcript import count

GROUP = "Byte stream"
LINE = b"The first, the second, the last: " + word()
#: Lengths around the sizes that buffers usually have.
LENGTHS = [size + more for size in (512, 1024, 4096)
           for more in (-1, 0, 1)]
#: A server by hand, up to the reply; `c` is the connection.
SERVE = """python3 -c 'import socket, time
c = socket.create_server(("HOST", PORT)).accept()[0]
line = c.recv(65536)
%s'
# in a second terminal:
%s"""


def echo_in_turn(client, peer, size):
    """Be an echo server that reads no more until its last piece is sent."""
    def finished():
        try:
            while peer.sent < size:
                if peer.sent == len(peer.got):
                    piece = peer.sock.recv(2048)
                    if not piece:
                        raise Failure("end-of-stream", "the client's stream "
                                      f"ended after {peer.sent:,} of "
                                      f"{count(size, 'byte')}")
                    peer.got += piece
                peer.sent += peer.sock.send(peer.got[peer.sent:])
        except BlockingIOError:
            return False
        return True

    client.stage.wait(
        finished, peer, "the server, which reads no more until its reply is "
        f"taken, got rid of {{}} of {count(size, 'byte')}",
        lambda: f"{peer.sent:,}", poll=select.POLLIN | select.POLLOUT,
        program=client.program)


@case("reply/split", role="client", services=LINES,
      group=GROUP, defects=(1, 35),
      source="recv(2); tcp(7); RFC 9293 3.8: TCP is a stream of bytes and "
             "keeps no boundaries of messages",
      hints=["One recv() returns what has come so far, which may be a part "
             "of the reply.",
             "Call recv() in a loop until the reply's newline has come."],
      transports=STREAMS,
      by_hand=SERVE % ("c.send(line[:6]); time.sleep(1); c.send(line[6:])",
                       'echo "The first, the second" | '
                       "CLIENT -H HOST -P PORT"))
def test_reply_split(client):
    """A reply that comes in several pieces is printed whole.

    The server may send it at once: the network cuts a stream where it likes,
    and one recv() brings what has arrived by then.
    """
    client.type(LINE + b"\n")
    peer = client.accept()
    reply = client.read_line(peer, LINE)
    client.reply(peer, reply[:6], reply[6:18], reply[18:])
    client.finish()
    client.expect_replies(LINE)


@case("reply/every-offset", role="client", services=LINES,
      group=GROUP, defects=(3,),
      source="recv(2); RFC 9293 3.8",
      hints=["Does your client depend on where the reply is cut?",
             "Only the newline ends a reply; a piece may be one byte, or all "
             "but the newline."],
      transports=STREAMS,
      by_hand=SERVE % ("c.send(line[:1]); time.sleep(1); c.send(line[1:])",
                       "echo abcde | CLIENT -H HOST -P PORT"))
def test_reply_every_offset(launch_client):
    """A reply in two pieces is printed whole wherever it is cut.

    A cut after the first byte, or right before the newline, is as good as any
    other; a client that is right for most cuts fails once in a thousand runs.
    """
    line = word()
    for offset in range(1, len(line) + 1):
        with within(f"cut after {count(offset, 'byte')} of {len(line) + 1}"):
            client = launch_client()
            client.type(line + b"\n")
            peer = client.accept()
            reply = client.read_line(peer, line)
            client.reply(peer, reply[:offset], reply[offset:])
            client.finish()
            client.expect_replies(line)


@case("reply/embedded-nul", role="client", services=LINES,
      group=GROUP, defects=(4,),
      source="recv(2): the result is the number of bytes; string(3)",
      hints=["What recv() brings is bytes with a length, not a C string.",
             "Print exactly as many bytes as recv() returned, with fwrite() "
             "or write(); printf(\"%s\") stops at the first NUL."],
      transports=STREAMS,
      by_hand=SERVE % ("c.send(line)", "printf 'before\\0after\\n' | "
                                       "CLIENT -H HOST -P PORT | od -c"))
def test_reply_embedded_nul(client):
    """A NUL byte in a reply is printed like any other, and so is what follows.

    Functions for C strings take it for the end and drop the rest without a
    word.
    """
    line = b"before\0after, \0\0the end: " + word()
    client.type(line + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, line))
    client.finish()
    client.expect_replies(line)


@case("reply/all-bytes", role="client", services=LINES,
      group=GROUP, defects=(9,),
      source="recv(2); document 001: a reply is printed as it came",
      hints=["Which values of a byte does your client treat in a special "
             "way?",
             "Only the newline (10) has a meaning. Keep bytes in unsigned "
             "char or in a buffer; 255 is no end of file."],
      transports=STREAMS,
      by_hand=SERVE % ("c.send(line)",
                       "python3 -c 'import sys; sys.stdout.buffer.write("
                       "bytes(set(range(256)) - {10}) + b\"\\n\")' | "
                       "CLIENT -H HOST -P PORT | od -c"))
def test_reply_all_bytes(client):
    """Bytes of every value but the newline's come back unchanged.

    Replies are not always text, and not always valid UTF-8: a client that
    decodes or filters them prints something else than what came.
    """
    line = word() + bytes(byte for byte in reversed(range(256))
                          if byte != 0x0a)
    client.type(line + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, line))
    client.finish()
    client.expect_replies(line)


@case("reply/format-characters", role="client", services=LINES,
      group=GROUP, defects=(119,),
      source="printf(3), BUGS: untrusted text must never be the format",
      hints=["Does anything that came from the network get to printf() as "
             "its first argument?",
             "Use fwrite(), fputs() or printf(\"%s\", ...)."],
      transports=STREAMS,
      by_hand=SERVE % ("c.send(line)", "echo '%d %x %c 100%%' | "
                                       "CLIENT -H HOST -P PORT"))
def test_reply_format_characters(client):
    """Per cent signs in a reply are printed as they are.

    Where a reply is the format of printf(), whoever runs the server reads the
    client's memory with %x and writes to it with %n.
    """
    line = b"%d %x %c 100%% %5d " + word()
    client.type(line + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, line))
    client.finish()
    client.expect_replies(line)


@case("reply/long", role="client", services=LINES,
      group=GROUP, defects=(121,),
      source="document 001: input() takes a line of any length; send(2)",
      hints=["How long may a line be that your client reads, and a reply "
             "that it prints?",
             "getline() reads a line of any length; or pass on the pieces of "
             "a line as they come, without a newline between them."],
      transports=STREAMS,
      by_hand="""
      python3 conformance/peers/echo_server_in_turn.py HOST PORT
      # in a second terminal, must print 100001 and, after a ">", 100002:
      python3 -c 'print("x" * 100000)' | CLIENT -H HOST -P PORT | wc -c""")
def test_reply_long(client):
    """A line of 100,000 bytes goes out as one line and comes back as one.

    A line that is longer than the client's buffer must not be split into two
    messages, and its reply must not be split into two lines.
    """
    line = pattern(100_000)
    client.type(line + b"\n")
    client.end_input()
    peer = client.accept()
    client.echo(peer)
    peer.expect(line)
    client.finish()
    client.expect_replies(line)


@case("reply/buffer-sizes", role="client", services=LINES,
      group=GROUP, defects=(6, 128),
      source="recv(2); C11 6.5.6: an array of N has no element N",
      hints=["What happens to a line that is exactly as long as a buffer, "
             "or one byte longer?",
             "Count the newline and a final NUL where you need them; compare "
             "lengths with < or <= on purpose."],
      transports=STREAMS,
      by_hand="""
      # with an echo server at HOST and PORT; each must print two more:
      for n in 1022 1023 1024 1025; do
          python3 -c "print('x' * $n)" | CLIENT -H HOST -P PORT | wc -c
      done""")
def test_reply_buffer_sizes(launch_client):
    """Lines as long as the usual buffers, or one byte off, come back whole.

    The byte at a buffer's end is the one that is lost, doubled, or overwritten
    by a NUL.
    """
    for length in LENGTHS:
        with within(f"with a line of {length:,} bytes and its newline"):
            line = pattern(length, length)
            client = launch_client()
            client.type(line + b"\n")
            peer = client.accept()
            client.reply(peer, client.read_line(peer, line))
            client.finish()
            client.expect_replies(line)


@case("reply/stale-bytes", role="client", services=LINES,
      group=GROUP, defects=(7,),
      messages=("many",), source="recv(2): the result is the number of bytes",
      hints=["What is in your buffer behind the bytes of a short reply?",
             "Print as many bytes as recv() returned, not as many as the "
             "buffer holds."],
      transports=STREAMS,
      by_hand="""
      # with an echo server at HOST and PORT:
      printf 'a long line\\nshort\\n' | CLIENT -H HOST -P PORT""")
def test_reply_stale_bytes(client):
    """A short reply after a long one is printed without the long one's rest.

    The buffer still holds the bytes of the reply before: whoever prints the
    whole buffer, or up to a NUL that nobody wrote, prints them again.
    """
    long, short = pattern(600) + b", and its end", word()
    for line in (long, short):
        client.type(line + b"\n")
        if line == long:
            peer = client.accept()
        peer.send(client.read_line(peer, line))
        client.quiet()
    client.finish()
    client.expect_replies(long, short)
    if client.program.stdout.count(b"its end") > 1:
        raise Failure("output", "after the short reply stand bytes of the "
                      "long one before it")


@case("request/short-send", role="client", services=LINES,
      group=GROUP, defects=(13, 14),
      source="send(2); POSIX.1-2008 send(): the number of bytes sent may be "
             "less than the length",
      hints=["send() says how many bytes it took. Who sends the others?",
             "Loop: add the result to an offset, and go on from there until "
             "all are sent."],
      transports=STREAMS,
      by_hand="""
      nc -l HOST PORT
      # in a second terminal:
      echo hello | LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='send@*=short:1' CLIENT -H HOST -P PORT""")
def test_request_short_send(launch_client):
    """A line goes out whole although each send() takes one byte only.

    The kernel takes what its buffer has room for. Bytes that it did not take
    are sent by nobody but the program.
    """
    client = launch_client(plan="send@*=short:1")
    client.type(LINE + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, LINE))
    client.finish()
    client.expect_replies(LINE)


@case("request/message-end", role="client", services=LINES,
      group=GROUP, defects=(34, 124),
      source="RFC 9293 3.8; shutdown(2)",
      hints=["How does a server know that the line is over?",
             "Send the newline too (getline() keeps it), or end the stream "
             "with shutdown(fd, SHUT_WR)."],
      transports=STREAMS,
      by_hand="""
      nc -l HOST PORT | od -c
      # in a second terminal; type a line and look at what od shows:
      CLIENT -H HOST -P PORT""")
def test_request_message_end(client):
    """A message is ended by its newline, or by the end of the stream.

    A server that answers whole messages waits for that end. A client that
    sends none waits for the answer at the same time, and both wait for ever.
    """
    client.type(LINE + b"\n")
    peer = client.accept()
    peer.expect(LINE)
    client.stage.wait(lambda: peer.ended() or peer.got[len(LINE):] == b"\n",
                      peer, "the line came without its newline, the stream "
                      "goes on, and the server can't know that the message "
                      "is over", program=client.program)


@case("request/unchanged", role="client", services=LINES,
      group=GROUP, defects=(4, 8),
      source="document 001: what is typed is sent",
      hints=["Which bytes of a line does your client change or drop?",
             "Take the length from getline() or read(), never from strlen(), "
             "and send what lies between as it is."],
      transports=STREAMS,
      by_hand="""
      nc -l HOST PORT | od -c
      # in a second terminal:
      printf ' two  blanks\\tand\\0more \\r\\n' | CLIENT -H HOST -P PORT""")
def test_request_unchanged(client):
    """The bytes of a line are sent as they were typed, all of them.

    Blanks at both ends, tabs, carriage returns, NUL bytes and UTF-8 belong to
    the line; only its newline is the client's business.
    """
    line = b"  two  blanks,\ta tab, a NUL \0, " + "é한".encode() + \
        b" %s and \r " % word()
    client.type(line + b"\n")
    peer = client.accept()
    peer.send(client.read_line(peer, line))
    client.finish()


@case("request/last-line", role="client", services=LINES,
      group=GROUP, defects=(8,),
      source="getline(3): the last line may come without a newline",
      hints=["A file's last line may lack its newline. Is it sent?",
             "getline() returns such a line too; only -1 is the end."],
      transports=STREAMS,
      by_hand="""
      # with an echo server at HOST and PORT:
      printf 'no newline' | CLIENT -H HOST -P PORT""")
def test_request_last_line(client):
    """The last line of the input is sent although it has no newline.

    End of input ends a line as well as a newline does. What was typed before
    it is a message like any other.
    """
    client.type(LINE)
    client.end_input()
    peer = client.accept()
    peer.send(client.read_line(peer, LINE))
    client.finish()
    client.expect_replies(LINE)


@case("client/both-ways", role="client", services=LINES,
      group="Short writes and "
      "back-pressure", defects=(17,),
      source="send(2): it blocks while the buffers are full; poll(2)",
      hints=["While send() waits for room, who reads the replies? And what "
             "does the server do if nobody does?",
             "Wait with poll() for both directions at once, and use "
             "MSG_DONTWAIT or a non-blocking socket."],
      transports=STREAMS,
      by_hand="""
      python3 conformance/peers/echo_server_in_turn.py HOST PORT
      # in a second terminal, a line of 32 MiB; the client must end:
      python3 -c 'print("x" * (32 << 20))' | CLIENT -H HOST -P PORT | wc -c""")
def test_both_ways(stage, launch_client):
    """A line larger than all buffers goes out while its reply is read.

    The server sends back what came before it reads on. A client that writes
    the whole line first leaves the reply unread until every buffer is full:
    then the server waits for the client, and the client for the server.
    """
    line = pattern(1 << 20)
    client = launch_client(
        listener=stage.listen_unix() if stage.contract.transport == "unix"
        else stage.listen(receive_buffer=8192, send_buffer=8192,
                          segment=1460))
    client.type(line + b"\n")
    client.end_input()
    peer = client.accept()
    echo_in_turn(client, peer, len(line))
    peer.expect(line)
    client.finish()
