"""A client that talks while it listens."""
from sockstep.case import case
from sockstep.data import line, pattern, word
from sockstep.failure import Failure, within
from sockstep.listener import LOOPBACK
from sockstep.transcript import count, shorten

GROUP = "Broadcast"
ENDS = "End of stream and reset"
SIGNALS = "Signals"
ONLY = ("broadcast",)
LINE = b"Does anybody hear %s?" % word(1)
NEWS = b"What the others say: %s\n" % word(2)
_NC = """nc -l HOST PORT
      # in a second terminal: CLIENT -H HOST -P PORT
"""


def expect_output(client, data):
    """Standard output holds `data` by now, after prompts or none.

    Nobody has ended the client: what is still in a buffer of its own does
    not count.
    """
    client.quiet()
    if data not in client.program.stdout:
        raise Failure("output", f"{shorten(data)} came from the server and is "
                      "not on standard output while the client waits for its "
                      "input",
                      f"standard output: {shorten(client.program.stdout, 400)}")


@case("talk/hears-at-prompt", role="client", group=GROUP, services=ONLY,
      source="document 000: send and recv need a thread each; poll(2)",
      hints=["While your client waits for the keyboard, who looks at the "
             "socket?",
             "Wait for both at once with poll(), or give recv() a thread of "
             "its own; and fflush(stdout) after each line."],
      by_hand=_NC + "      # type into nc: the client must show it at once")
def test_hears_at_prompt(client):
    """What the others say is printed at once, while nothing is typed.

    A client that sends and receives in turns shows it only after the next
    line, when it may be hours old.
    """
    peer = client.accept()
    for number in range(3):
        peer.send(b"%d %s" % (number, NEWS))
        expect_output(client, b"%d %s" % (number, NEWS))


@case("talk/speaks-unanswered", role="client", group=GROUP, services=ONLY,
      source="document 000: it works as a ping-pong only",
      hints=["Who answers a line that goes to everybody? Perhaps nobody.",
             "Don't wait for anything after send(): read the next line."],
      by_hand=_NC + "      # type two lines into the client: nc must show both")
def test_speaks_unanswered(client):
    """Line after line is sent, though nobody answers.

    A line that goes to everybody has no reply that could be waited for.
    """
    peer = client.accept()
    for number in range(3):
        client.type(b"%d %s\n" % (number, LINE))
        client.read_line(peer, b"%d %s" % (number, LINE))


@case("talk/whole-line", role="client", group=GROUP, services=ONLY,
      source="the lesson's contract: a line ends with its newline",
      hints=["The server hands on whole lines. How does it know that yours is "
             "whole?",
             "Send the newline, too."],
      by_hand=_NC + "      # nc must show each line on a line of its own")
def test_whole_line(client):
    """Each line is sent with its newline.

    A server that hands on whole lines waits for it otherwise, for ever.
    """
    client.type(LINE + b"\n")
    client.accept().expect(LINE + b"\n")


@case("talk/pieces", role="client", group=GROUP, services=ONLY, defects=(1,),
      source="tcp(7): a stream has no boundaries; recv(2)",
      hints=["One recv() may bring half a line. What is printed behind it?",
             "Print the bytes as they come: the newlines are among them."],
      by_hand="(printf 'half a '; sleep 2; echo line; sleep 9) | nc -l HOST PORT"
              "\n      # in a second terminal: CLIENT -H HOST -P PORT; type a "
              "line first")
def test_pieces(client):
    """A line that comes in pieces is printed as one.

    What one recv() brings is a part of a stream, not a line.
    """
    peer = client.accept()
    client.type(LINE + b"\n")
    client.read_line(peer, LINE)
    for piece in (b"Half a line ", b"and its", b" rest: %s\n" % word()):
        peer.send(piece)
        client.quiet()
    client.end_input()
    client.quiet()
    peer.close()
    client.stage.wait_end(client.program)
    client.expect_replies(b"Half a line and its rest: " + word())


@case("talk/all-bytes", role="client", group=GROUP, services=ONLY,
      defects=(4, 119), source="the lesson's contract: only the newline has a "
      "meaning",
      hints=["A line may hold any byte but the newline, the NUL too.",
             "Carry the length along; no strlen(), and no printf() with what "
             "came as its format."],
      by_hand="printf 'a\\0b %n %s\\n' | CLIENT -H HOST -P PORT\n"
              "      # against nc -l HOST PORT | xxd")
def test_all_bytes(client):
    """Every byte but the newline passes unchanged, in both directions.

    Text in other languages has bytes above 127, and nobody has forbidden a
    percent sign.
    """
    every = bytes(set(range(256)) - {10, 13}) + b"%n%s%x " + word()
    client.type(every + b"\n")
    peer = client.accept()
    client.read_line(peer, every)
    peer.send(every + b"\n")
    client.quiet()
    client.end_input()
    client.quiet()
    peer.close()
    client.stage.wait_end(client.program)
    client.expect_replies(every)


@case("talk/both-ways", role="client", group=GROUP, services=ONLY,
      defects=(17,), source="send(2): it waits when the buffers are full; "
      "poll(2)",
      hints=["You send much, and nobody reads it yet, because much is being "
             "sent to you. Who reads first?",
             "Never wait in send() alone: send what the kernel takes, and "
             "read what has come meanwhile."],
      by_hand=_NC.replace("nc -l", "yes | nc -l") +
      "      # with yes | CLIENT: both must go on; look with top")
def test_both_ways(stage, launch_client):
    """The client reads while it has much to send.

    If both sides send first and read afterwards, each waits for the other
    when the buffers between them are full.
    """
    client = launch_client(listener=stage.listen(
        receive_buffer=8192, send_buffer=8192, segment=1460))
    typed, news = (b"".join(line(1000, seed + number) for number in range(1000))
                   for seed in (0, 1000))
    client.type(typed)
    peer = client.accept()
    client.quiet()                      # no more fits between the two
    if (taken := peer.push(news)) < len(news):
        raise Failure("stuck", f"the client took {taken:,} of "
                      f"{count(len(news), 'byte')} and then read no more, "
                      "since it waits in send()")
    peer.expect(typed)


@case("talk/long-line", role="client", group=GROUP, services=ONLY,
      defects=(121,), source="getline(3); read(2)",
      hints=["How long may a line of the input be for your client?",
             "getline() takes any length; with read(), send the pieces as "
             "they come: the newline comes with the last."],
      by_hand="head -c 100000 /dev/zero | tr '\\0' x | CLIENT -H HOST -P PORT\n"
              "      # against nc -l HOST PORT | wc -c")
def test_long_line(client):
    """A line of any length is sent whole.

    What the server makes of it is the server's affair.
    """
    text = pattern(100_000)
    client.type(text + b"\n")
    client.read_line(client.accept(), text)


@case("talk/last-line", role="client", group="Life of a client",
      services=ONLY, defects=(34, 123),
      source="the lesson's contract; shutdown(2), SHUT_WR; getline(3)",
      hints=["The input ends. What is still to be sent, and what may still "
             "come?",
             "Send the last line with a newline, then shutdown(SHUT_WR), then "
             "print until the server ends the connection."],
      by_hand="printf 'last words' | CLIENT -H HOST -P PORT; echo $?\n"
              "      # against nc -l HOST PORT: type a line there, then Ctrl-D")
def test_last_line(client):
    """At the end of input the last line goes out whole, then the stream ends.

    What still comes is printed until the server ends as well: then all that
    was sent has arrived, and the status is 0.
    """
    client.type(LINE)
    client.end_input()
    peer = client.accept()
    peer.expect(LINE + b"\n")
    peer.expect_end()
    peer.send(NEWS)
    client.quiet()
    peer.send(NEWS)
    peer.close()
    client.expect_exit(0, "the server has ended after the client's end")
    client.expect_replies(NEWS[:-1], NEWS[:-1])


@case("talk/empty-line", role="client", group="Life of a client",
      services=ONLY, source="document 000: if not data: break",
      hints=["What does an empty line mean to your client?",
             "It ends the input: go on as at the end of the file."],
      by_hand=_NC + "      # type an empty line: nc must end")
def test_empty_line(client):
    """An empty line ends the client like the end of input.

    It is how a person says goodbye in the document; nothing is sent for it.
    """
    peer = client.accept()
    client.type(LINE + b"\n")
    client.read_line(peer, LINE)
    peer.send(NEWS)                         # for a client that waits for it
    client.quiet()
    client.type(b"\nnever sent\n")
    if said := peer.until_end():
        raise Failure("wrong-bytes", f"{shorten(said)} was sent after an "
                      "empty line")
    peer.close()
    client.expect_exit(0, "an empty line was typed")


@case("talk/unread-at-end", role="client", group=ENDS, services=ONLY,
      defects=(34, 36), source="RFC 9293 3.6.1; RFC 2525 2.17: a close with "
      "unread data sends a reset",
      hints=["Your client closes while a line from the server is unread. What "
             "does the server see, and what happens to your last line?",
             "shutdown(SHUT_WR), and read until recv() returns 0, before "
             "close()."],
      by_hand="""
      python3 -c "import socket, time
      c = socket.create_server(('HOST', PORT)).accept()[0]
      c.sendall(b'news\\\\n'); time.sleep(1); print(c.recv(99), c.recv(99))"
      # with CLIENT </dev/null: ConnectionResetError shows the fault""")
def test_unread_at_end(client):
    """The client's end is no reset, whatever it has not read yet.

    A reset throws away what the server's kernel has received and the server
    has not read: the client's own last line.
    """
    peer = client.accept()
    client.quiet()
    client.program.freeze()
    peer.send(NEWS)
    client.end_input()
    client.thaw()
    peer.expect_end()
    peer.close()
    client.stage.wait_end(client.program)
    client.expect_replies(NEWS[:-1])


@case("talk/server-ends-at-prompt", role="client", group=ENDS, services=ONLY,
      defects=(122,), source="poll(2); recv(2): 0 is the end of the stream",
      hints=["The server has ended, and your client waits for the keyboard. "
             "Until when?",
             "Wait with poll() for both, and end when recv() returns 0; no "
             "thread can end the getline() of another."],
      by_hand=_NC + "      # end nc with Ctrl-C: the client must end at once")
def test_server_ends_at_prompt(client):
    """When the server ends the connection the client ends, without input.

    Whoever waits for news would wait for ever otherwise.
    """
    peer = client.accept()
    client.type(LINE + b"\n")
    client.read_line(peer, LINE)
    peer.send(NEWS)
    client.quiet()
    peer.close()
    client.program.may_end = True
    client.stage.wait_end(client.program)


@case("talk/lost-server", role="client", group=ENDS, services=ONLY,
      defects=(43,), source="recv(2): 0 and ECONNRESET; POSIX.1-2008 XCU "
      "2.8.2: an exit status of 0 means success",
      hints=["The server ends before your client has. Is that how it should "
             "be?",
             "Say so on standard error, and end with status 1; so, too, if "
             "the last line that came has no newline."],
      by_hand=_NC + "      # end nc with Ctrl-C: the client must say so; echo $?")
def test_lost_server(launch_client):
    """A server that ends first, or in the middle of a line, is a failure.

    The client says so on standard error and ends with status 1: otherwise
    nobody knows that something is missing.
    """
    for said, ends in ((b"", "close"), (b"half a li", "close"),
                       (NEWS, "reset")):
        with within(f"{count(len(said), 'byte')} came before the server's "
                    f"{ends}"):
            client = launch_client()
            peer = client.accept()
            peer.send(said)
            client.quiet()
            if said and ends == "close":
                client.end_input()
                peer.until_end()
            getattr(peer, ends)()
            client.quiet()
            client.end_input()
            client.expect_exit(1, "the server was lost")
            client.stage.expect_complaint()


@case("talk/output-full", role="client", group="Life of a client",
      services=ONLY, defects=(118,), source="full(4); fflush(3); write(2), "
      "ENOSPC",
      hints=["fwrite() and printf() can fail, and often only when the buffer "
             "is written out.",
             "Look at the result of fflush(stdout) after each line."],
      by_hand=_NC + "      # with CLIENT >/dev/full: type into nc; echo $?")
def test_output_full(launch_client):
    """What can't be written to standard output is a failure: status 1.

    The one who reads the file later believes that nobody has said anything.
    """
    client = launch_client(stdout="/dev/full")
    peer = client.accept()
    client.type(LINE + b"\n")
    client.read_line(peer, LINE)
    peer.send(NEWS)
    client.quiet()
    client.end_input()
    client.quiet()
    peer.close()
    client.expect_exit(1, "standard output is full")
    client.stage.expect_complaint()


@case("talk/refused", role="client", group=ENDS, services=ONLY,
      defects=(44,), source="connect(2), ECONNREFUSED",
      hints=["What does connect() return where no server is?",
             "Say `program: what: why` on standard error and end with status "
             "1."],
      by_hand="CLIENT -H 127.0.0.1 -P 1; echo $?    # nobody listens there")
def test_refused(stage, launch_client):
    """Where no server listens the client says so and ends with status 1.

    Who starts it must see that nobody will hear, before a line is typed.
    """
    client = launch_client(listener=stage.listen(backlog=-1))
    client.expect_exit(1, "the connection is refused")
    stage.expect_complaint("Connection refused")
    client.expect_no_output()


@case("talk/short-send", role="client", group=GROUP, services=ONLY,
      plans=True, defects=(13, 14), source="send(2), RETURN VALUE",
      hints=["send() may take fewer bytes than it was given.",
             "Send on from the first byte that was not taken."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_FAULTS='send@*=short:1' \\
          CLIENT -H HOST -P PORT""")
def test_short_send(launch_client):
    """When send() takes a part of a line only, the rest follows.

    The kernel takes what it has room for and tells how many bytes that were.
    Who does not look loses the end of a line, and the next line is joined to
    its beginning.
    """
    client = launch_client(plan="send@*=short:1")
    peer = client.accept()
    client.type(LINE + b"\n")
    client.read_line(peer, LINE)


@case("talk/interrupted", role="client", group=SIGNALS, services=ONLY,
      plans=True, defects=(20, 21, 23), source="signal(7), interruption of "
      "system calls; connect(2), EINTR; poll(2)",
      hints=["EINTR says that a signal came, and nothing more.",
             "Call recv(), send() and poll() again; after connect() wait with "
             "poll() for POLLOUT and ask SO_ERROR."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_FAULTS='recv@1=EINTR' \\
          CLIENT -H HOST -P PORT    # also send@1, wait@1, connect@1=late:EINTR
      """)
def test_interrupted(launch_client):
    """A signal that interrupts a call costs no line.

    A window that changes its size sends a signal, too.
    """
    for plan in ("recv@1-2=EINTR", "send@1-2=EINTR", "wait@2-4=EINTR",
                 "connect@1=late:EINTR"):
        with within(f"under the plan {plan}"):
            client = launch_client(plan=plan)
            client.program.plan_may_miss = plan.startswith("wait")
            client.type(LINE + b"\n")
            peer = client.accept()
            client.read_line(peer, LINE)
            peer.send(NEWS)
            client.quiet()
            client.end_input()
            client.quiet()
            peer.close()
            client.expect_exit(0, "a signal came")
            client.expect_replies(NEWS[:-1])


@case("talk/broken-pipe", role="client", group=SIGNALS, services=ONLY,
      plans=True, defects=(26,), source="send(2), EPIPE and MSG_NOSIGNAL; "
      "signal(7), SIGPIPE",
      hints=["The server is gone, and your client sends. Which signal comes?",
             "Give send() the flag MSG_NOSIGNAL, and tell EPIPE like any "
             "other error."],
      by_hand=_NC + "      # kill -STOP the client, type a line into it, end nc,"
      "\n      # kill -CONT: a message and status 1 are due, not 141")
def test_broken_pipe(launch_client):
    """A line to a server that is gone is a failure, and no death by SIGPIPE.

    The signal ends the process without a word.
    """
    client = launch_client(plan="send@1=signal:SIGSTOP")
    peer = client.accept()
    client.type(LINE + b"\n")
    client.wait_frozen()
    peer.half_close()
    peer.reset()
    client.thaw()
    client.end_input()
    client.expect_exit(1, "the server was lost")
    client.stage.expect_complaint()


@case("document/broadcast-server", role="client", group="The document",
      services=ONLY, source="document 004: the server's classes, in Python",
      hints=["The document's server hands on bytes as they come, and sends "
             "nothing of its own.",
             "Send whole lines, and print what comes."],
      by_hand="python3 conformance/peers/broadcast_server.py HOST PORT\n"
              "      # in two terminals: CLIENT -H HOST -P PORT")
def test_python_server(stage, launch_client):
    """Two clients talk by way of a server with the document's classes.

    Its sendAll() is as it is in the document.
    """
    server = stage.assist("server", "broadcast_server.py", LOOPBACK, "0")
    port = stage.wait_listening(server).local[1]
    speaker = launch_client(port=port)
    hearer = launch_client(port=port)
    stage.wait(lambda: server.stdout.count(b"connected:") == 2, None,
               "the clients do not connect")
    for client in (speaker, hearer):
        client.quiet()
    speaker.type(LINE + b"\n")
    for client in (speaker, hearer):            # it is sent, and has come
        client.quiet()
    hearer.type(NEWS)
    for client in (hearer, speaker):
        client.quiet()
    for client in (hearer, speaker):
        client.end_input()
        client.expect_exit(0, "the server has ended after the client's end")
    hearer.expect_replies(LINE)
    speaker.expect_replies(NEWS[:-1])
