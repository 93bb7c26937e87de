"""Datagrams, seen from a client: lost, late, doubled, and a stranger's."""
import errno
import functools
import os
import socket
import struct

from sockstep.case import SHOULD, case
from sockstep.data import pattern, word
from sockstep.datagram import MOST_BYTES
from sockstep.deadline import hurry
from sockstep.failure import Failure, within
from sockstep.listener import LOOPBACK
from sockstep.relay import Relay, Weather
from sockstep.transcript import count, shorten

GROUP = "Datagrams"
LINE = b"one line to send: " + word()
#: So much faster the client's time runs where its time limits are to pass:
#: where the runner has to act in between, and where it only waits.
FAST, FASTER = 20, 50
SO_TIMESTAMPNS = 35                         # asm-generic/socket.h
SEEDS = (1, 2, 3, 4)

asked = functools.partial(case, role="client", services=("uppercase",),
                          transports=("udp",))


def request(client, line=LINE):
    """The client is given a line, and its request has come."""
    client.type(line + b"\n")
    came = client.listener.receive("the client sends no request")
    if came != line:
        raise Failure("wrong-bytes", "a datagram with the line, without its "
                      f"newline, is due: {shorten(line)}; {shorten(came)} "
                      "came")


def printed_once(client, answer):
    """Status 0, and one line with the answer on standard output."""
    client.expect_exit(0, "the answer came")
    client.expect_replies(answer)
    number = client.program.stdout.count(answer)
    if number != 1:
        raise Failure("output", f"the answer was printed {number} times; it "
                      "is one answer to one request")


def through_relay(stage, launch_client):
    """A client that reaches the document's server through a relay."""
    server = stage.assist("server", "udp_uppercase_server.py", LOOPBACK, "0")
    port = stage.wait_listening(server, "udp").local[1]
    relay = Relay(stage, (LOOPBACK, port))
    client = launch_client(port=relay.port, plan=hurry(FAST))
    client.type(LINE + b"\n")
    return client, relay


@asked("request/datagram", group=GROUP, defects=(2,),
       source="document 003, 7.1: the client; udp(7)",
       hints=["The datagram ends where the line ends; nothing else need mark "
              "it.",
              "Take the newline off and give all of the line to one "
              "sendto()."],
       by_hand="""nc -u -l PORT | od -c, and in a second terminal
                  echo hello | CLIENT -H HOST -P PORT""")
def test_datagram(client):
    """The line is sent as one datagram, without its newline.

    A datagram keeps its boundaries, so that one request is one datagram,
    and its length says where it ends.
    """
    request(client)
    client.listener.send(LINE.upper())
    printed_once(client, LINE.upper())
    if more := client.listener.read():
        raise Failure("wrong-bytes", "one datagram is due; after it came "
                      f"{shorten(more[0])}")


@asked("answer/printed", group=GROUP, defects=(4, 119),
       source="document 003, 7.1: the client; recvfrom(2)",
       hints=["Print as many bytes as recvfrom() has returned: there is no "
              "NUL at their end.",
              "fwrite() takes a length; printf(\"%s\") looks for a NUL."],
       by_hand="echo 'a%n%s' | CLIENT -H HOST -P PORT   must print A%N%S")
def test_printed(launch_client):
    """The answer is printed on a line of its own, whatever is in it.

    It is text of somebody else's: no format, and not ended by a NUL.
    """
    for answer in (b"HELLO", b"%N%S%X%1000000D", b"A\0B", b"\xff\xc3", b"Z"):
        client = launch_client()
        answer = word(2).upper() + answer
        request(client, word(1))
        client.listener.send(answer)
        printed_once(client, answer)


@asked("request/empty-datagram", group=GROUP, defects=(83,),
       source="document 003, 7.1: the client; recv(2): zero-length datagrams",
       hints=["An empty line is a datagram of no bytes, and so is its answer.",
              "Neither a length of 0 to send nor a result of 0 is an error."],
       by_hand="echo | CLIENT -H HOST -P PORT   must print an empty line")
def test_empty_datagram(client):
    """An empty line is an empty datagram, and its answer an empty line.

    A result of 0 from recvfrom() is a datagram, not the end of anything.
    """
    request(client, b"")
    client.listener.send(b"")
    client.expect_exit(0, "the answer came")
    if client.program.stdout.strip(b" ") != b"\n":
        raise Failure("output", "an empty line is due on standard output; "
                      f"it holds {shorten(client.program.stdout)}")


@asked("request/no-line", group=GROUP, defects=(122,),
       source="the contract of the lesson; getline(3), RETURN VALUE",
       hints=["The end of input before any byte is no empty line.",
              "getline() returns -1 there; send nothing then."],
       by_hand="CLIENT -H HOST -P PORT </dev/null; echo $?   must say 0")
def test_no_line(client):
    """Without a line nothing is sent, and the status is 0.

    There was nothing to ask, so there is nothing to wait for either.
    """
    client.end_input()
    client.stage.wait(lambda: client.listener.has_come() or
                      client.program.ending(), None, "there was nothing to "
                      "ask, and the client does not end")
    if came := client.listener.read():
        raise Failure("wrong-bytes", "nothing was typed, and a datagram came: "
                      f"{shorten(came[0])}")
    client.expect_exit(0, "there was nothing to ask")
    client.expect_no_output()


@asked("request/sizes", group=GROUP, defects=(84, 121),
       source="RFC 768; udp(7), EMSGSIZE; getline(3)",
       hints=["A line can be as long as the largest datagram.",
              "getline() makes the buffer as large as the line is."],
       by_hand="""head -c 65507 /dev/zero | tr '\\0' x |
                  CLIENT -H HOST -P PORT | wc -c   must print 65508""")
def test_sizes(launch_client):
    """Lines of every size that a datagram can have are sent whole.

    A buffer of fixed size would make two requests of one line, or lose the
    rest.
    """
    for size in (1, 1023, 1024, 2047, 2048, 2049, 9001, MOST_BYTES):
        with within(count(size, "byte")):
            client = launch_client()
            request(client, pattern(size))
            client.listener.send(word().upper())
            printed_once(client, word().upper())


@asked("request/too-long", group=GROUP, defects=(84, 92),
       source="udp(7), EMSGSIZE; send(2)",
       hints=["sendto() refuses what no datagram can hold.",
              "Look at its result; say so, and end with status 1."],
       by_hand="""head -c 65508 /dev/zero | tr '\\0' x |
                  CLIENT -H HOST -P PORT; echo $?   must say 1""")
def test_too_long(launch_client):
    """A line that no datagram can hold is refused, with status 1.

    A client that does not look at the result of sendto() waits for the
    answer to a request that was never sent.
    """
    client = launch_client(plan=hurry(FASTER))
    client.type(pattern(MOST_BYTES + 1) + b"\n")
    client.expect_exit(1, "the line is too long for a datagram")
    client.stage.expect_complaint(os.strerror(errno.EMSGSIZE))


@asked("answer/cut-off", group=GROUP, defects=(82,),
       source="recv(2), MSG_TRUNC; document 003, 7.1: recvfrom(2048)",
       hints=["What does not fit into the buffer is gone, and the result does "
              "not say so.",
              "Take a buffer for the largest datagram, and look at "
              "MSG_TRUNC."],
       by_hand="""a server that answers with 3,000 bytes:
       python3 -c "import socket; s = socket.socket(2, 2)
       s.bind(('HOST', PORT)); s.sendto(b'X' * 3000, s.recvfrom(9)[1])"
       """)
def test_cut_off(launch_client):
    """No part of an answer is printed for the whole.

    The answer is printed whole, or the client says that it can't, with
    status 1.
    """
    for size in (2049, 9001, MOST_BYTES):
        client = launch_client()
        request(client)
        client.listener.send(pattern(size))
        client.program.may_end = True
        if client.stage.wait_end(client.program).status != 1:
            with within(f"an answer of {size:,} bytes"):
                printed_once(client, pattern(size))


@asked("answer/whole-range", group=GROUP, defects=(6, 82, 84),
       source="RFC 768; the contract of the lesson",
       hints=["An answer has 65,507 bytes at most.",
              "A buffer of 65,535 bytes takes whatever comes."],
       by_hand="""head -c 65507 /dev/zero | tr '\\0' x |
                  CLIENT -H HOST -P PORT | wc -c   must print 65508""")
def test_whole_range(launch_client):
    """Answers of every size that UDP can carry are printed whole.

    The rest of a datagram that did not fit can't be had by a second call.
    """
    for size in (1, 2047, 2048, 2049, 9001, MOST_BYTES):
        with within(f"an answer of {count(size, 'byte')}"):
            client = launch_client()
            request(client)
            client.listener.send(pattern(size))
            printed_once(client, pattern(size))


@asked("signal/client-datagram-interrupted", group="Signals", defects=(20,),
       plans=True, source="send(2), recv(2) and poll(2), EINTR; signal(7)",
       hints=["EINTR says that a signal came before anything was done.",
              "Make the same call again."],
       by_hand="""
       echo hello | LD_PRELOAD=build/src/fault_preload.so \\
       SOCKSTEP_FAULTS='send@1=EINTR;recv@1=EINTR;wait@1-2=EINTR' \\
       CLIENT -H HOST -P PORT
       """)
def test_interrupted(launch_client):
    """A signal that interrupts a call does not cost the answer.

    The user who resizes the window of the terminal sends a signal too.
    """
    client = launch_client(plan="send@1=EINTR; recv@1=EINTR; wait@1-2=EINTR")
    request(client)
    client.listener.send(LINE.upper())
    printed_once(client, LINE.upper())


@asked("answer/stranger", group=GROUP, defects=(85,),
       source="connect(2): for SOCK_DGRAM the only address from which "
              "datagrams are received; RFC 8085 5.1",
       hints=["Whoever knows the client's port can send to it.",
              "connect() the socket to the server: the kernel then lets in "
              "its datagrams only. Or compare address and port with those "
              "that recvfrom() gives you."],
       by_hand="""strace -e recvfrom,recvmsg CLIENT -H HOST -P PORT shows its
                  port by ss -uanp; then echo LIE | nc -u 127.0.0.1 THAT""")
def test_stranger(stage, client):
    """Only the server's answer is taken, not that of a stranger.

    One sends from another port, one from another address and the server's
    own port; both are quicker than the server.
    """
    server = client.listener
    twin = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stage.sockets.append(twin)
    twin.bind(("127.0.0.2", server.port))
    request(client)
    stage.open_datagrams(LOOPBACK, server.far, "stranger").send(b"A LIE")
    stage.transcript.add("harness", "stranger 2", "send", b"ANOTHER LIE",
                         note="from 127.0.0.2 and the server's port")
    twin.sendto(b"ANOTHER LIE", server.far)
    client.quiet()
    if not client.program.alive():
        told = client.program.stdout
        raise Failure("output", "the client has ended without its server's "
                      "answer" + (f" and printed that of a stranger: "
                                  f"{shorten(told)}" if told else ""))
    server.send(LINE.upper())
    printed_once(client, LINE.upper())
    if b"LIE" in client.program.stdout:
        raise Failure("output", "a stranger's answer was printed: "
                      f"{shorten(client.program.stdout)}")


@asked("answer/nobody", group=GROUP, defects=(44, 86),
       source="udp(7), ECONNREFUSED; RFC 1122 4.1.3.3; connect(2)",
       hints=["Where nobody has the port, the other machine says so by ICMP.",
              "Only a socket that is connected is told: its next call fails "
              "with ECONNREFUSED."],
       by_hand="""echo hello | CLIENT -H 127.0.0.1 -P 9; echo $?  says 1""")
def test_nobody(launch_client):
    """Where nobody has the server's port, the client ends with status 1.

    On the way there is no connection that could be refused: a client that
    does not look for that waits for an answer of nobody.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.bind((LOOPBACK, 0))            # for TCP: nobody has it for UDP
        client = launch_client(port=held.getsockname()[1],
                               plan=hurry(FASTER))
        client.type(LINE + b"\n")
        client.expect_exit(1, "nobody has that port")
        client.stage.expect_complaint()


@asked("answer/none", group=GROUP, defects=(86,),
       source="RFC 8085 3.1.1; poll(2); socket(7), SO_RCVTIMEO",
       hints=["A datagram can be lost without anybody being told.",
              "Wait with a time limit: poll() or SO_RCVTIMEO; then say so, "
              "with status 1."],
       by_hand="""nc -u -l PORT, and in a second terminal
                  echo hello | CLIENT -H HOST -P PORT; echo $?""")
def test_none(launch_client):
    """Without an answer the client gives up within a minute, with status 1.

    UDP does not say whether a request has arrived. Time runs faster for the
    client here.
    """
    client = launch_client(plan=hurry(FASTER))
    request(client)
    client.expect_exit(1, "no answer came within a minute")
    client.stage.expect_complaint()
    client.expect_no_output()


@asked("retry/request-lost", group=GROUP, defects=(86,),
       source="RFC 8085 3.3: applications that need reliability must do it "
              "themselves",
       hints=["A lost request can be sent again: upper case is the same "
              "twice.",
              "When the time limit has passed, send the request again, and "
              "wait again."],
       by_hand="""Start the client while the server is stopped with
                  kill -STOP and its queue full, or drop the first datagram
                  with a rule of the firewall.""")
def test_request_lost(stage, launch_client):
    """After a lost request the client asks again, and gets its answer.

    A relay between the client and the document's server loses it.
    """
    client, relay = through_relay(stage, launch_client)
    relay.lose(relay.request())
    relay.request().deliver()
    relay.answer().deliver()
    printed_once(client, LINE.upper())


@asked("retry/answer-lost", group=GROUP, defects=(86,),
       source="RFC 8085 3.3",
       hints=["The client can't tell a lost answer from a lost request.",
              "Ask again in both cases, with the same datagram."],
       by_hand="As for retry/request-lost, with the answer.")
def test_answer_lost(stage, launch_client):
    """After a lost answer the client asks again, with the same request.

    The server answers it as if it were the first.
    """
    client, relay = through_relay(stage, launch_client)
    first = relay.request()
    first.deliver()
    relay.lose(relay.answer())
    again = relay.request()
    if again.data != first.data:
        raise Failure("wrong-bytes", "another request was sent the second "
                      f"time: {shorten(again.data)}")
    again.deliver()
    relay.answer().deliver()
    printed_once(client, LINE.upper())


@asked("retry/late-answer", group=GROUP, defects=(87,),
       source="RFC 8085 3.1.1; udp(7): datagrams may be reordered and doubled",
       hints=["The answer to the first request may come after the second was "
              "sent, and then a second answer.",
              "Both answer the same line: take the first that comes, and be "
              "done."],
       by_hand="As for retry/request-lost, with an answer that is delayed.")
def test_late_answer(stage, launch_client):
    """An answer that comes after the client has asked again does no harm.

    Then two answers come to one request. One is printed.
    """
    client, relay = through_relay(stage, launch_client)
    relay.request().deliver()
    late = relay.answer()
    second = relay.request()
    late.deliver()
    second.deliver()
    relay.answer().deliver()
    printed_once(client, LINE.upper())


@asked("answer/doubled", group=GROUP, defects=(87,),
       source="RFC 8085 3.3: duplicates; udp(7)",
       hints=["The network may deliver a datagram twice.",
              "Take one answer, print it, and end."],
       by_hand="a server that calls sendto() twice for each datagram")
def test_doubled(client):
    """An answer that comes twice is printed once.

    Both copies are in the client's queue when it looks.
    """
    request(client)
    client.program.freeze()
    client.listener.send(LINE.upper())
    client.listener.send(LINE.upper())
    client.program.thaw()
    printed_once(client, LINE.upper())


@asked("answer/stale", group=GROUP, defects=(87,),
       source="RFC 8085 5.1; RFC 6056; connect(2), bind(2): when a port is "
              "given",
       hints=["What was sent to your port before you asked is no answer to "
              "you.",
              "Let the socket get its port only when you send: connect() or "
              "sendto() after the line is read."],
       by_hand="""ss -uanp while the client waits at the keyboard: it must
                  have no port yet.""")
def test_stale(stage, client):
    """What came before the request was sent is not taken for its answer.

    The port may have been another client's a moment ago, whose answer is
    still on its way. It comes from the right server.
    """
    client.quiet()                          # it waits for the line
    inodes = client.program.socket_inodes()
    for row in stage.diag.datagram_sockets():
        if row.inode in inodes and row.local[1]:
            client.listener.send(b"OF ANOTHER", (LOOPBACK, row.local[1]))
    request(client)
    client.listener.send(LINE.upper())
    printed_once(client, LINE.upper())
    if b"OF ANOTHER" in client.program.stdout:
        raise Failure("output", "an answer that came before the request was "
                      f"printed: {shorten(client.program.stdout)}")


@asked("retry/back-off", group=GROUP, level=SHOULD, defects=(86,),
       source="RFC 8085 3.1.1; RFC 1122 4.1.1: exponential back-off",
       hints=["If all clients ask again at once and often, a busy network "
              "stays busy.",
              "Ask three times at least, and wait twice as long after each "
              "try."],
       by_hand="""nc -u -l PORT | ts, and a client with one line""")
def test_back_off(stage, launch_client):
    """The client asks three times at least, each time after a longer wait.

    The kernel's own time stamps are compared: the wait before the last
    try must be half as long again as that after the first.
    """
    client = launch_client(plan=hurry(10))
    sock, times = client.listener.sock, []
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def enough():
        while len(times) < 4:
            try:
                _data, control, _flags, far = sock.recvmsg(1 << 16, 64)
            except BlockingIOError:
                return not client.program.alive()
            client.listener.far = far
            seconds, rest = struct.unpack("qq", control[0][2])
            times.append(seconds + rest / 1e9)
        return True

    client.type(LINE + b"\n")
    stage.wait(enough, client.listener, "the client does not ask again")
    if len(times) < 3:
        raise Failure("exit", f"the client gives up after {len(times)} "
                      f"{'tries' if len(times) != 1 else 'try'}; three are "
                      "due")
    client.program.may_end = True
    client.listener.send(LINE.upper())
    waits = [later - earlier for earlier, later in zip(times, times[1:])]
    if waits[-1] < 1.5 * waits[0]:
        told = ", ".join(f"{wait * 1000:.0f} ms" for wait in waits)
        raise Failure("call", "the waits between the tries do not grow: "
                      f"{told} (of a clock that runs faster for it)")


@asked("retry/rest", group=GROUP, defects=(16, 40),
       source="poll(2); recv(2), EAGAIN",
       hints=["A loop around recvfrom() with MSG_DONTWAIT burns a processor "
              "while it waits.",
              "Wait in poll(), with the time that is left."],
       by_hand="top, while the client waits for nc -u -l PORT")
def test_rest(client):
    """The client rests while it waits for the answer.

    Looking again and again costs a processor, and the battery.
    """
    request(client)
    client.quiet()
    client.listener.send(LINE.upper())
    printed_once(client, LINE.upper())


@asked("retry/weather", group=GROUP, defects=(86, 87),
       source="RFC 8085 3.3; udp(7)",
       hints=["Datagrams are lost, doubled, late and out of order, all in one "
              "run.",
              "Make the cases retry/* and answer/* green first; they tell "
              "more."],
       by_hand="""SOCKSTEP_SEED=7 make check LESSON=05 ROLE=client
                  CASE=retry/weather   is another weather""")
def test_weather(stage, launch_client):
    """Where two datagrams at most are lost, the client gets its answer.

    A seed decides what becomes of each datagram; the message names it.
    """
    for seed in SEEDS:
        weather = Weather(seed, losses=2)
        with within(f"seed {weather.seed}"):
            client, relay = through_relay(stage, launch_client)
            relay.pass_on(client.program, weather)
            printed_once(client, LINE.upper())


@asked("client/datagram-output-full", group="Life of a client",
       defects=(118,), source="fflush(3), ENOSPC; full(4)",
       hints=["What printf() takes is not written yet.",
              "Look at fflush() or fclose() of standard output."],
       by_hand="echo x | CLIENT -H HOST -P PORT >/dev/full; echo $?  says 1")
def test_output_full(launch_client):
    """An answer that cannot be written is an error: status 1.

    A script that looks at the status takes the answer for written.
    """
    client = launch_client(stdout="/dev/full")
    request(client)
    client.listener.send(LINE.upper())
    client.expect_exit(1, "standard output is full")
    client.stage.expect_complaint(os.strerror(errno.ENOSPC))


@asked("answer/ipv6", group=GROUP, defects=(98,), level=SHOULD, options=True,
       source="ipv6(7); getaddrinfo(3), AF_UNSPEC",
       hints=["An address of -H may be of either family.",
              "Ask getaddrinfo() for AF_UNSPEC, and open the socket in the "
              "family of the address."],
       by_hand="echo x | CLIENT -H ::1 -P PORT, with a server at ::1")
def test_ipv6(stage, launch_client):
    """With an IPv6 address as its host the client asks there.

    Where the machine has no IPv6, nothing is asked.
    """
    try:
        server = stage.listen_datagrams("::1")
    except OSError:
        return
    client = launch_client(listener=server, host="::1")
    request(client)
    server.send(LINE.upper())
    printed_once(client, LINE.upper())


@asked("leak/client-datagram-heap", group="Resources", defects=(5, 68),
       valgrind=True, source="getline(3); freeaddrinfo(3)",
       hints=["Look at where Valgrind says that the memory was allocated.",
              "free() what getline() gave, and freeaddrinfo() the list, on "
              "every way out."],
       by_hand="echo x | valgrind --leak-check=full CLIENT -H HOST -P PORT")
def test_heap(launch_client):
    """All memory is used within its bounds and freed, after errors as well.

    One run gets its answer, one has a line that is too long to be sent.
    """
    client = launch_client()
    request(client)
    client.listener.send(pattern(1000))
    client.expect_exit(0, "the answer came")
    client = launch_client()
    client.type(pattern(MOST_BYTES + 1) + b"\n")
    client.expect_exit(1, "the line is too long for a datagram")


@asked("document/udp-python-server", group="The document",
       source="document 003, 7.1: the server",
       hints=["The document's server answers each datagram with one.",
              "Send the line without its newline, and print what comes."],
       by_hand="""python3 conformance/peers/udp_uppercase_server.py HOST PORT
                  # in a second terminal:
                  echo hello | CLIENT -H HOST -P PORT""")
def test_python_server(stage, launch_client):
    """The client talks to the document's own server.

    That is what the reader of the document has at hand. A relay sees that
    it is asked.
    """
    client, relay = through_relay(stage, launch_client)
    relay.request().deliver()
    relay.answer().deliver()
    printed_once(client, LINE.upper())
