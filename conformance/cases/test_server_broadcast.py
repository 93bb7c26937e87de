"""A server that hands on what one says to all the others."""
import signal

from sockstep import sockdiag
from sockstep.case import case
from sockstep.data import line, word
from sockstep.deadline import Deadline
from sockstep.failure import Failure, mismatch, within
from sockstep.transcript import count

GROUP = "Broadcast"
SLOW = "Short writes and back-pressure"
ENDS = "End of stream and reset"
SIGNALS = "Signals"
ONLY = ("broadcast",)
LINE = b"Let all of you hear this: %s\n" % word()
#: The longest line, its newline included.
LINE_SIZE = 1024
#: A server keeps so much for a client, and no more.
QUEUE_SIZE = 65536
#: More than the kernel still takes for a client for whom it has no room: its
#: next probe of the shut window lets the buffer grow once more.
BEHIND = 40960
#: More than the buffers of both kernels hold while a client does not read.
TOO_MUCH = 2 << 20
_TWO = """SERVER -P PORT          # and in two other terminals:
      nc HOST PORT
"""
_STALLED = """python3 -c "import socket, time
      s = socket.socket(); s.setsockopt(1, socket.SO_RCVBUF, 4096)
      s.connect(('HOST', PORT)); time.sleep(99)" &
"""


def join(server, number, **options):
    """So many clients, whom the server knows, in the order in which they
    came."""
    peers = [server.connect(**options) for _ in range(number)]
    server.quiet()
    return peers


def far_side(server, peer):
    """The server's socket of a connection, as the kernel sees it, or None."""
    row = server.stage.diag.lookup(peer.far, peer.near)
    return row if row and row.inode and row.state == sockdiag.ESTABLISHED \
        else None


def hold_up(server, speaker, slow, others=(), behind=BEHIND):
    """Lines for `slow`, who does not read, until the kernel takes no more.

    More than `behind` bytes of them are with the server then, which sends or
    keeps them.  Who is slow is read by nobody; the `others` get all.  Returns
    what was said.
    """
    said = b""
    while len(said) < TOO_MUCH:
        fresh = b"".join(line(LINE_SIZE, len(said) + k) for k in range(4))
        speaker.send(fresh)
        said += fresh
        server.quiet()
        row = far_side(server, slow)
        if row is None:
            raise Failure("end-of-stream", "the server dropped a client that "
                          "was behind by "
                          f"{count(behind + len(fresh), 'byte')} at most,"
                          " not counting what the kernel keeps")
        if row.sent + row.unsent + behind < len(said):
            return said
        for peer in others:
            peer.expect(fresh)
    raise Failure("harness", "the kernel takes all for a client that does not "
                  "read")


# -- who gets what ----------------------------------------------------------------
@case("broadcast/operator", role="server", group=GROUP, services=ONLY,
      source="document 004, sendAll(); read(2)",
      hints=["What is typed on the server's standard input goes to every "
             "client. Which part of your server reads it?",
             "Read standard input in a thread of its own, or in the same "
             "poll() as the connections, and send each line to all."],
      by_hand=_TWO + "      # type a line into the server: both must show it")
def test_operator(launch_server):
    """What the operator types goes to every client.

    This is the document's sendAll(): the one who runs the server tells all
    of them something.
    """
    server = launch_server(typing=True)
    peers = join(server, 3)
    for words in (LINE, b"And this.\n"):
        server.program.type(words)
        for peer in peers:
            peer.expect(words)


@case("broadcast/to-the-others", role="server", group=GROUP, services=ONLY,
      source="the lesson's contract; document 004, the list of connections",
      hints=["Who is in the list, and whom do you leave out?",
             "Send to every connection but the one from which the line came."],
      by_hand=_TWO + "      # type a line into one: the other must show it, "
      "and it itself not")
def test_to_the_others(server):
    """What a client sends goes to every other client, and not to itself.

    Whoever speaks knows what was said; a line that comes back could not be
    told from one that another client has sent.
    """
    peers = join(server, 3)
    for speaker in peers:
        speaker.send(LINE)
        for peer in peers:
            if peer is not speaker:
                peer.expect(LINE)
        speaker.expect_silence()


@case("broadcast/several-lines", role="server", group=GROUP, services=ONLY,
      defects=(2,), source="tcp(7): a stream has no boundaries; recv(2)",
      hints=["One recv() may bring several lines.",
             "After each recv() look for newlines until there is none left."],
      by_hand=_TWO + "      # kill -STOP the server, type three lines into "
      "one, kill -CONT:\n      # the other must show all three")
def test_several_lines(server):
    """Lines that come together are all handed on, in their order.

    The kernel puts together what comes while the server is busy.
    """
    speaker, hearer = join(server, 2)
    lines = b"one\ntwo\nand %s\n" % word()
    server.freeze()
    speaker.send(lines)
    server.thaw()
    hearer.expect(lines)


@case("broadcast/half-line", role="server", group=GROUP, services=ONLY,
      defects=(1, 76), source="tcp(7): a stream has no boundaries; recv(2)",
      hints=["One recv() may bring half a line. What do the others get?",
             "Keep what came in a buffer of that client's own until its "
             "newline is there. What stands behind a newline is the beginning "
             "of the next line."],
      by_hand=_TWO + "      # and (printf 'half a '; sleep 9; echo line) | nc "
      "HOST PORT:\n      # nothing may be shown before the line is whole")
def test_half_line(server):
    """Half a line is kept until it is whole.

    What another client says meanwhile would otherwise stand in its middle.
    It is kept as well where it comes together with the line before it.
    """
    speaker, hearer = join(server, 2)
    for piece in (b"Half a line ", b"is not "):
        speaker.send(piece)
        hearer.expect_silence()
    speaker.send(b"a line: %s\nAnd here " % word())
    hearer.expect(b"Half a line is not a line: %s\n" % word())
    hearer.expect_silence()
    speaker.send(b"is the next: %s\n" % word(1))
    hearer.expect(b"And here is the next: %s\n" % word(1))


@case("broadcast/never-mixed", role="server", group=GROUP, services=ONLY,
      defects=(77,), source="the lesson's contract; tcp(7): a stream has no "
      "boundaries",
      hints=["Two clients send at the same time, each in pieces. In which "
             "order do the pieces leave your server?",
             "A buffer for each client, and only whole lines out of it."],
      by_hand=_TWO + """      # and, at the same time:
      for w in one two; do
          (printf "$w begins, "; sleep 2; echo "$w ends") | nc HOST PORT &
      done""")
def test_never_mixed(server):
    """The lines of several clients are never mixed, however they come.

    Who hears them can't take the pieces apart again.
    """
    one, two, hearer = join(server, 3)
    for speaker, piece in ((one, b"One begins, "), (two, b"Two begins, "),
                           (one, b"goes on, "), (two, b"goes on, "),
                           (one, word(1) + b"\n"), (two, word(2) + b"\n")):
        speaker.send(piece)
        server.quiet()
    hearer.expect(b"One begins, goes on, %s\nTwo begins, goes on, %s\n"
                  % (word(1), word(2)))


@case("broadcast/order", role="server", group=GROUP, services=ONLY,
      source="RFC 9293 3.8: a stream keeps its order",
      hints=["Two lines of one client: may the second overtake the first?",
             "If several threads send for one client, a line that waits is "
             "overtaken. Queue the lines of a client in their order."],
      by_hand=_TWO + "      # and seq 9999 | nc -N HOST PORT, twice at a "
      "time: each one's\n      # numbers must go up")
def test_order(server):
    """The lines of each client come to the others in the order of sending.

    Between two clients there is no order, since they speak at the same time.
    """
    one, two, hearer = join(server, 3)
    lines = {peer: [b"%s %03d %s" % (name, number, line(57, number))
                    for number in range(200)]
             for peer, name in ((one, b"ab"), (two, b"cd"))}
    server.freeze()
    for peer, said in lines.items():
        peer.send(b"".join(said))
    server.thaw()
    server.quiet()
    heard = hearer.read().splitlines(keepends=True)
    for said in lines.values():
        came = b"".join(text for text in heard if text[:2] == said[0][:2])
        if came != b"".join(said):
            raise Failure("wrong-bytes", "the lines of one client did not "
                          "come whole and in their order",
                          mismatch=mismatch(b"".join(said), came))


@case("broadcast/all-bytes", role="server", group=GROUP, services=ONLY,
      defects=(4, 8, 119), source="the lesson's contract: only the newline has "
      "a meaning",
      hints=["A line may hold any byte but the newline, the NUL too. Which "
             "of your functions stops at a NUL?",
             "Carry the length along; no strlen(), no printf(\"%s\")."],
      by_hand=_TWO + "      # and printf 'a\\0b %%n %%s\\r\\n' | nc -N HOST "
      "PORT; look with nc ... | xxd")
def test_all_bytes(launch_server):
    """Every byte but the newline is handed on unchanged, from everybody.

    NUL, CR, percent signs and bytes above 127 mean nothing to a server that
    looks for newlines only.
    """
    server = launch_server(typing=True)
    speaker, hearer = join(server, 2)
    every = bytes(set(range(256)) - {10}) + b"%n%s%x " + word() + b"\r\n"
    speaker.send(every)
    hearer.expect(every)
    server.program.type(every)
    hearer.expect(every)


@case("broadcast/long-line", role="server", group=GROUP, services=ONLY,
      defects=(6, 18), source="the lesson's contract: a line has at most 1024 "
      "bytes",
      hints=["How long may a line get before it no longer fits your buffer? "
             "What then?",
             "A line has at most 1024 bytes with its newline. Of a longer "
             "one send 1023 bytes and a newline, and go on with the rest as "
             "with a new line."],
      by_hand=_TWO + "      # and head -c 2000 /dev/zero | tr '\\0' x | nc "
      "HOST PORT:\n      # 1023 must be shown, and 977 wait for their newline")
def test_long_line(server):
    """A line of more than 1024 bytes is broken after each 1023.

    Without a bound one client can fill the server's memory with a line that
    never ends. The bytes are all handed on, each part with a newline, so that
    no other line stands in the middle of one.
    """
    speaker, hearer = join(server, 2)
    for size in (LINE_SIZE - 1, LINE_SIZE, LINE_SIZE + 1, 2 * LINE_SIZE - 1,
                 2 * LINE_SIZE, 5000):
        with within(f"a line of {size} bytes"):
            text = line(size)
            speaker.send(text)
            hearer.expect(broken(text))


def broken(text):
    """A line as the server hands it on."""
    parts = []
    while len(text) > LINE_SIZE:
        parts.append(text[:LINE_SIZE - 1] + b"\n")
        text = text[LINE_SIZE - 1:]
    return b"".join(parts) + text


# -- the operator -----------------------------------------------------------------
@case("broadcast/operator-pieces", role="server", group=GROUP, services=ONLY,
      defects=(1,), source="read(2); pipe(7); termios(3), canonical mode: only "
      "a terminal gives line by line",
      hints=["Standard input may be a pipe: it gives what there is, not a "
             "line.",
             "Keep the operator's half line like that of a client."],
      by_hand="(printf 'half a '; sleep 9; echo line) | SERVER -P PORT\n"
              "      # and nc HOST PORT: nothing may be shown for 9 seconds")
def test_operator_pieces(launch_server):
    """The operator's half line is kept until it is whole, too.

    Meanwhile the clients talk to each other.
    """
    server = launch_server(typing=True)
    speaker, hearer = join(server, 2)
    server.program.type(b"Half a line ")
    hearer.expect_silence()
    speaker.send(LINE)
    hearer.expect(LINE)
    server.program.type(b"and its rest: %s\n" % word())
    hearer.expect(b"Half a line and its rest: %s\n" % word())


@case("broadcast/operator-last-line", role="server", group=GROUP,
      services=ONLY, defects=(8,), source="the lesson's contract; POSIX.1-2017 "
      "3.206: a line ends with a newline",
      hints=["The input may end without a newline. Is what stands before it "
             "sent?",
             "At the end of the input send what is left, with a newline."],
      by_hand="printf 'no newline' | SERVER -P PORT    # with a client of "
              "before:\n      (sleep 5; printf 'no newline') | SERVER -P PORT")
def test_operator_last_line(launch_server):
    """The operator's last line is sent with a newline if it has none.

    The end of the input says that it is whole. Of a client that leaves nobody
    knows that: what it has not completed is dropped.
    """
    server = launch_server(typing=True)
    peer, = join(server, 1)
    server.program.type(b"The last words: " + word())
    server.program.end_input()
    peer.expect(b"The last words: %s\n" % word())
    peer.expect_silence()


@case("broadcast/operator-end", role="server", group=GROUP, services=ONLY,
      defects=(40,), source="the lesson's contract; read(2): 0 is the end of "
      "the file; poll(2), POLLHUP",
      hints=["What does the end of standard input mean for the clients?",
             "Nothing: stop to read it, take it out of poll() or epoll, and "
             "go on."],
      by_hand="SERVER -P PORT </dev/null       # it must serve, and use no "
              "processor")
def test_operator_end(launch_server):
    """The end of the operator's input ends nothing.

    A server in the background has no operator at all.
    """
    server = launch_server(typing=True)
    speaker, hearer = join(server, 2)
    server.program.end_input()
    server.expect_alive("the end of the operator's input")
    speaker.send(LINE)
    hearer.expect(LINE)
    server.exchange().close()


# -- those who leave --------------------------------------------------------------
@case("broadcast/leaves-mid-line", role="server", group=ENDS, services=ONLY,
      defects=(77,), source="the lesson's contract; recv(2): 0 and ECONNRESET",
      hints=["A client leaves in the middle of a line. Where is its half?",
             "Drop what is not whole when recv() returns 0 or fails: nobody "
             "knows whether that was all."],
      by_hand=_TWO + "      # and printf 'half a li' | nc -N HOST PORT: nothing "
      "may be shown")
def test_leaves_mid_line(server):
    """What a client has not completed when it leaves is dropped.

    It may be cut anywhere, and the next line of another client must not be
    joined to it.
    """
    speaker, hearer = join(server, 2)
    for leave in ("close", "reset"):
        leaver, = join(server, 1)
        leaver.send(b"Half a li")
        server.quiet()
        getattr(leaver, leave)()
        hearer.expect_silence()
        speaker.send(LINE)
        hearer.expect(LINE)


@case("broadcast/lost-while-sent-to", role="server", group=ENDS,
      services=ONLY, plans=True, defects=(25, 37),
      source="send(2), EPIPE, ECONNRESET and MSG_NOSIGNAL; signal(7), SIGPIPE",
      hints=["send() to one client fails. Who is behind it in your list?",
             "Note that this one is lost, and go on with the next. "
             "MSG_NOSIGNAL keeps SIGPIPE from ending all."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='send@1=ECONNRESET' SERVER -P PORT
      # with three nc: of what the third types one of the two must see""")
def test_lost_while_sent_to(launch_server):
    """Clients that are lost while a line is sent cost the others nothing.

    The document's loop ends with the first exception, without a word: those
    behind the lost client get nothing.
    """
    server = launch_server(plan="send@1=signal:SIGSTOP")
    first, second, speaker, third, last = join(server, 5)
    speaker.send(LINE)
    server.wait_frozen()                    # whichever end of the list is first
    first.reset()
    last.reset()
    server.thaw()
    for peer in (second, third):
        peer.expect(LINE)
    server.expect_alive("the loss of two clients")


@case("broadcast/leaver-in-the-loop", role="server", group=GROUP,
      services=ONLY, defects=(69,),
      source="document 004: for i in range(len(self.connections)); "
             "pthread_mutex_lock(3)",
      hints=["A line is being sent to all, and one of them leaves. What "
             "happens to the list, and to the place where the loop is?",
             "Hold the lock for the whole loop, or only mark who is lost and "
             "take them out of the list after the loop."],
      by_hand=_STALLED + """# it does not read; start it second of four, let the
      # fourth send much (yes | nc), end the first, then kill the python3:
      # the third must have missed no line""")
def test_leaver_in_the_loop(server):
    """A client that leaves while a line is sent to all costs nobody a line.

    When it is taken out of the list those behind it move up, and a loop that
    counts places passes over one of them.
    """
    leaver, = join(server, 1)
    slow, = join(server, 1, receive_buffer=4096)
    hearer, speaker = join(server, 2)
    before = hold_up(server, speaker, slow, (leaver, hearer), behind=0)
    leaver.half_close()
    server.quiet()
    slow.expect(before)
    server.quiet()
    due, came = before[-4 * LINE_SIZE:], hearer.read()
    if came != due:
        raise Failure("wrong-bytes", f"{hearer.label} missed a part of what "
                      f"was said while {leaver.label} left: "
                      f"{count(len(came), 'byte')} of {len(due)} came",
                      mismatch=mismatch(due, came))


# -- those who do not read --------------------------------------------------------
@case("broadcast/slow-reader", role="server", group=SLOW, services=ONLY,
      defects=(75,), source="send(2): it waits when the buffers are full; "
      "EAGAIN and MSG_DONTWAIT; epoll(7), EPOLLOUT",
      hints=["One client does not read. In which call is your server, and who "
             "waits with it?",
             "Send with MSG_DONTWAIT; what the kernel does not take goes into "
             "a queue of that client's own, and EPOLLOUT says when to go on. "
             "Or give each client a thread that does nothing but send."],
      by_hand=_STALLED + "nc HOST PORT >/dev/null & yes | nc HOST PORT\n"
              "      # the first nc must get line after line: look with top")
def test_slow_reader(server):
    """A client that does not read keeps no line from the others.

    Sooner or later the buffers of both kernels are full, and a send() that
    waits then waits for a person who has gone to lunch.
    """
    slow, = join(server, 1, receive_buffer=4096)
    hearer, speaker = join(server, 2)
    for said in flood(server, slow):
        speaker.send(said)
        hearer.expect(said)
    speaker.send(LINE)
    hearer.expect(LINE)


@case("broadcast/slow-reader-dropped", role="server", group=SLOW,
      services=ONLY, defects=(18,), source="the lesson's contract: 64 KiB for "
      "a client; malloc(3); CWE-770",
      hints=["What a client does not take is kept. How much of it?",
             "Give each queue a bound (64 KiB here). If a line no longer fits, "
             "close that connection: the client is told by the end of its "
             "stream."],
      by_hand=_STALLED + "yes | nc HOST PORT &\n"
              "      # the server's memory must not grow (top), and the client "
              "must be gone (ss -tn)")
def test_slow_reader_dropped(server):
    """A client for whom more than 64 KiB would have to be kept is dropped.

    Nobody may wait for it, and nobody may fill the server's memory through
    it: then one of its connections has to go, and that is the slow one.
    """
    slow, = join(server, 1, receive_buffer=4096)
    hearer, speaker = join(server, 2)
    speaker.send(LINE)
    slow.expect(LINE)                       # it is not dropped from the start
    hearer.expect(LINE)
    for said in flood(server, slow):
        speaker.send(said)
        hearer.expect(said)
    if far_side(server, slow):
        raise Failure("leak", f"{TOO_MUCH >> 20} MiB were said while "
                      f"{slow.label} did not read, and it is still connected: "
                      "all that is kept for it in memory")
    slow.until_end()


def flood(server, slow):
    """Lines, in portions, until `slow` is dropped, or more than enough."""
    for number in range(TOO_MUCH // (16 * LINE_SIZE)):
        if far_side(server, slow):
            yield b"".join(line(LINE_SIZE, 16 * number + k) for k in range(16))


@case("broadcast/late-reader", role="server", group=SLOW, services=ONLY,
      defects=(13, 16), source="the lesson's contract: 64 KiB for a client; "
      "send(2), EAGAIN",
      hints=["A client that reads late is not lost yet. What does your server "
             "do with a line that the kernel does not take?",
             "Keep it, up to 64 KiB, and send it when poll() or epoll says "
             "that there is room: from the byte where send() stopped."],
      by_hand=_STALLED + "      # with recv() in a loop in place of sleep(99) "
              "after 5 seconds: it\n      # must get every line, if not more "
              "than 64 KiB had to be kept")
def test_late_reader(server):
    """A client that reads late gets every line, whole and in order.

    As long as less than 64 KiB have to be kept for it. A person may look away
    for a moment.
    """
    slow, = join(server, 1, receive_buffer=4096)
    speaker, = join(server, 1)
    before = hold_up(server, speaker, slow)
    slow.expect(before)
    speaker.send(LINE)
    slow.expect(LINE)


@case("broadcast/short-send", role="server", group=SLOW, services=ONLY,
      plans=True, defects=(13, 14, 15), source="send(2), RETURN VALUE: the "
      "number of bytes sent",
      hints=["send() may take fewer bytes than it was given.",
             "Send on from there, before anything else goes to that client."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_FAULTS='send@*=short:7' \\
          SERVER -P PORT        # and two nc""")
def test_short_send(launch_server):
    """When send() takes a part of a line only, the rest follows.

    Python's sendall() does that by itself; in C it is the program's work.
    """
    server = launch_server(plan="send@*=short:7")
    speaker, hearer, other = join(server, 3)
    speaker.send(LINE)
    for peer in (hearer, other):
        peer.expect(LINE)


@case("broadcast/interrupted", role="server", group=SIGNALS, services=ONLY,
      plans=True, defects=(20, 21, 22), source="signal(7), interruption of "
      "system calls; send(2), recv(2), epoll_wait(2), EINTR",
      hints=["EINTR says that a signal came, and nothing more.",
             "Call again: with the same bytes after send(), and for all "
             "clients after epoll_wait() or poll()."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_FAULTS='recv@1=EINTR' \\
          SERVER -P PORT        # and two nc; also send@1 and wait@1""")
def test_interrupted(launch_server):
    """A signal that interrupts a call costs nobody a line.

    The call has done nothing, and the same call made again does it.
    """
    for plan in ("recv@1-2=EINTR", "send@1-2=EINTR", "wait@1-3=EINTR",
                 "send@1=short:9; send@2=EINTR; send@3=short:5; send@4=EINTR"):
        with within(f"under the plan {plan}"):
            server = launch_server(plan=plan)
            server.program.plan_may_miss = plan.startswith("wait")
            speaker, hearer = join(server, 2)
            speaker.send(LINE)
            hearer.expect(LINE)
            server.done()


# -- many -------------------------------------------------------------------------
@case("broadcast/crowd", role="server", group="Many clients", services=ONLY,
      defects=(63, 75, 76, 79), source="the lesson's contract: 500 clients; "
      "epoll(7); pthreads(7); getrlimit(2), RLIMIT_NPROC",
      hints=["What does one more client cost your server: a descriptor, or a "
             "thread with its stack as well?",
             "Serve all of them in one thread: poll() or epoll_wait() says who "
             "has something."],
      by_hand="for i in $(seq 500); do sleep 60 | nc HOST PORT >out.$i & done\n"
              "      echo hello | nc -N HOST PORT    # it must be in each file")
def test_crowd(server):
    """500 clients are served at the same time, without a thread for each.

    One of them does not read, one has left in the middle of a line, and
    nearly all are silent. What ten of them say comes to all the others.
    """
    server.connect(receive_buffer=4096)
    leaver = server.connect()
    leaver.send(b"half a li")
    crowd = [accepted(server) for _ in range(498)]
    server.quiet()
    leaver.close()
    said = [b"%02d " % number + line(50, number) for number in range(10)]
    for speaker, text in zip(crowd, said):
        speaker.send(text)
    server.quiet()
    for number, peer in enumerate(crowd):
        due = said[:number] + said[number + 1:]
        heard = sorted(peer.read().splitlines(keepends=True))
        if heard != due:
            right = len(set(heard) & set(due))
            raise Failure("wrong-bytes", f"{count(right, 'line')} of "
                          f"{len(due)} came whole to {peer.label}",
                          mismatch=mismatch(b"".join(due), b"".join(heard)))


def accepted(server):
    """A client that the server has accepted: the backlog is another case's."""
    peer = server.connect()
    deadline = Deadline()
    while any(row.receive_queue for row in server.stage.diag.listeners()
              if row.local[1] == server.port):
        if deadline.expired() or not server.program.alive():
            raise Failure("refused", f"{peer.label} is not accepted")
        server.program.pace(0.0002)     # to ask all threads would take longer
    return peer


@case("broadcast/memory", role="server", group="Resources", services=ONLY,
      valgrind=True, defects=(6, 68), source="malloc(3); Valgrind's manual, "
      "Memcheck",
      hints=["What belongs to a client is freed when it leaves, and nobody "
             "looks at it after that.",
             "Run the server under valgrind --leak-check=full and let some "
             "clients leave while others send."],
      by_hand="valgrind --leak-check=full SERVER -P PORT\n"
              "      # with some clients, then Ctrl-C")
def test_memory(launch_server):
    """Memory is used as it should be, and what a client had is freed.

    With lines of every length, clients that leave in every way, and an
    operator.
    """
    server = launch_server(typing=True)
    for number in range(3):
        speaker, hearer, leaver = join(server, 3)
        leaver.send(b"half")
        for size in (1, LINE_SIZE, 3000):
            speaker.send(line(size, number))
            hearer.expect(line(size, number) if size <= LINE_SIZE
                          else broken(line(size, number)))
        server.program.type(LINE)
        hearer.expect(LINE)
        leaver.reset()
        server.quiet()
        speaker.close()
        hearer.half_close()
        server.quiet()
        hearer.close()


# -- the end ----------------------------------------------------------------------
@case("broadcast/finish-lines", role="server", group=SIGNALS, services=ONLY,
      defects=(30,), source="the program contract: an orderly end finishes what "
      "is under way; signal(7)",
      hints=["What has come before the signal, and nobody has read yet?",
             "After the signal read once more what each client has sent, hand "
             "it on, and then close."],
      by_hand=_TWO + "      # kill -STOP the server, type a line into one, "
      "kill -TERM and\n      # kill -CONT the server: the other must show it")
def test_finish_lines(server):
    """What was said before SIGTERM comes to all before the end.

    Who has said it has no way to know that the server did not hear.
    """
    speaker, hearer = join(server, 2)
    server.freeze()
    speaker.send(LINE)
    server.program.ended_by_harness = True
    server.program.signal(signal.SIGTERM)
    server.thaw()
    server.expect_ended("SIGTERM")
    hearer.expect(LINE)
    hearer.until_end()


@case("broadcast/finish-queue", role="server", group=SIGNALS, services=ONLY,
      defects=(30,), source="the program contract: an orderly end finishes what "
      "is under way within one second",
      hints=["What is kept for a client that reads late, when the signal "
             "comes?",
             "Go on with your loop until every queue is empty, one second at "
             "most, and only then close."],
      by_hand=_STALLED + "      # with recv() in a loop after 5 seconds, as in "
              "broadcast/late-reader;\n      # kill -TERM the server just "
              "before that")
def test_finish_queue(server):
    """What is kept for a client at SIGTERM is sent before the end.

    If the client takes it: it has a second for that.
    """
    slow, = join(server, 1, receive_buffer=4096)
    speaker, = join(server, 1)
    before = hold_up(server, speaker, slow)
    server.program.ended_by_harness = True
    server.program.signal(signal.SIGTERM)
    server.quiet()
    slow.expect(before)
    slow.until_end()
    server.expect_ended("SIGTERM while a client was behind")


@case("broadcast/end-bounded", role="server", group=SIGNALS, services=ONLY,
      defects=(29, 75), source="the program contract: an orderly end takes one "
      "second at most; epoll_wait(2), the parameter timeout",
      hints=["Who decides when the server ends, if a client never reads?",
             "Note the time of the signal, and give each wait after it only "
             "what is left of one second."],
      by_hand=_STALLED + "yes | head -n 100000 | nc -N HOST PORT\n"
              "      # then kill -TERM the server: it must end in a second")
def test_end_bounded(server):
    """A client that never reads does not stop the server's end.

    What is kept for it has about one second. Without that limit any client
    could keep the service from being stopped.
    """
    slow, = join(server, 1, receive_buffer=4096)
    speaker, = join(server, 1)
    hold_up(server, speaker, slow)
    server.expect_orderly_end(when="while a client does not read")


# -- the document -----------------------------------------------------------------
@case("document/broadcast-client", role="server", group="The document",
      services=ONLY, source="documents 004 and 000: the client, with a thread "
      "that receives",
      hints=["The client sends each line with its newline, and prints what "
             "comes at any time.",
             "It adds nothing to a line and expects nothing to be added."],
      by_hand="python3 conformance/peers/broadcast_client.py HOST PORT\n"
              "      # in two terminals: type a line into each")
def test_python_client(server):
    """Clients in Python, in the document's style, talk by way of the server.

    One speaks and leaves, the other hears it.
    """
    host, port = server.address
    stage = server.stage
    hearer, speaker = (stage.assist("client", "broadcast_client.py", host,
                                    str(port)) for _ in range(2))
    stage.wait(lambda: accepted_all(server, 2), None,
               "the clients are not accepted", program=server.program)
    witness, = join(server, 1)
    here, there = b"from the harness: " + word(1), b"from Python: " + word(2)
    witness.send(here + b"\n")
    speaker.type(there + b"\n")
    witness.expect(there + b"\n")
    for program in (speaker, hearer):
        program.end_input()
        stage.wait(program.ending, None, "the client in Python does not end",
                   program=server.program)
    heard = sorted(hearer.stdout.splitlines())
    if heard != [there, here]:
        raise Failure("output", f"the client in Python printed {heard!r}",
                      hearer.stderr.decode(errors="replace")[-500:])


def accepted_all(server, number):
    """Whether the server has accepted so many connections."""
    return sum(row.local[1] == server.port and row.inode > 0
               and row.state == sockdiag.ESTABLISHED
               for row in server.stage.diag.everything()) == number
