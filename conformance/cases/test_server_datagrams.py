"""Datagrams, seen from a server: whole or not at all, each from somebody."""
import functools
import signal
import socket

from sockstep import procfs
from sockstep.case import SHOULD, case
from sockstep.data import pattern, word
from sockstep.datagram import MOST_BYTES
from sockstep.failure import Failure, mismatch, within
from sockstep.listener import LOOPBACK
from sockstep.transcript import count

GROUP = "Datagrams"
LINE = b"a datagram of 3 words " + word(1)
OTHER = b"and another one, of 7 words, " + word(2)
#: The documents' programs keep 2,048 bytes; 1,472 fill a frame of Ethernet.
SMALL = (1, 2, 15, 16, 511, 512, 1023, 1024, 1472, 1473, 2047, 2048)
LARGE = (2049, 4096, 9001, 65_506, MOST_BYTES)
#: Who answers one of these with less has cut it off.
CUT = (2049, 3000, 9001, MOST_BYTES)
#: Times that one answer may be tried before it is given up.
MOST_TRIES = 10

asked = functools.partial(case, role="server", services=("uppercase",),
                          transports=("udp",))


def upper(text):
    """Upper case by Unicode's rules; bytes that are no UTF-8 stay."""
    return text.decode(errors="surrogateescape").upper() \
        .encode(errors="surrogateescape")


def ask(peer, text):
    """A datagram, and its answer."""
    peer.send(text)
    peer.expect(upper(text))


def still_served(server, what):
    """The server goes on after `what`, and a new client gets its answer."""
    server.expect_alive(what)
    ask(server.connect(), OTHER)


@asked("datagram/answer", group=GROUP, defects=(91,),
       source="document 003, 7.1; recvfrom(2), sendto(2)",
       hints=["recvfrom() tells who sent the datagram.",
              "Give the address that recvfrom() filled in to sendto(), with "
              "its length, and send through the same socket."],
       by_hand="printf 'hello' | nc -u -W 1 HOST PORT   must print HELLO")
def test_answer(server):
    """Each datagram is answered to its sender, in upper case, from the
    port that was asked.

    There is no connection that would say whose turn it is: the address of
    the sender comes with each datagram, and is good for that one. A client
    that is connected lets in only what comes from the port that it asked.
    """
    first, second = server.connect(), server.connect()
    for peer, text in ((first, LINE), (second, OTHER), (first, b"x\n"),
                       (second, LINE)):
        ask(peer, text)
        if peer.sender[1] != server.port:
            raise Failure("wrong-bytes", f"port {server.port} was asked, and "
                          f"the answer came from port {peer.sender[1]}")
    first.expect_silence()
    second.expect_silence()


@asked("datagram/empty", group=GROUP, defects=(83,),
       source="udp(7); RFC 768: a length of 8 is a header without data; "
              "recv(2): datagram sockets permit zero-length datagrams",
       hints=["For a datagram, a result of 0 is no end: there is no stream "
              "that could end.",
              "Answer an empty datagram with an empty one, and go on."],
       by_hand="""
       python3 -c "import socket; s = socket.socket(2, 2); s.settimeout(1)
       s.sendto(b'', ('HOST', PORT)); print(s.recvfrom(9))"
       """)
def test_empty(server):
    """An empty datagram is answered with an empty one, and is no end.

    recvfrom() returns 0 for it, which means the end of a stream and has
    no such meaning here.
    """
    peer = server.connect()
    peer.send(b"")
    peer.expect(b"")
    still_served(server, "an empty datagram")


@asked("datagram/sizes", group=GROUP, defects=(6, 11),
       source="document 003, 7.1: recvfrom(2048); udp(7)",
       hints=["A buffer of 2,048 bytes takes a datagram of 2,048 bytes.",
              "What recvfrom() returns is the length; nothing in the buffer "
              "marks the end."],
       by_hand="""head -c 2048 /dev/zero | tr '\\0' x | nc -u -W 1 HOST PORT |
                  wc -c   must print 2048""")
def test_sizes(server):
    """Datagrams of up to 2,048 bytes are answered whole.

    One byte too few in the buffer, or one too many for a final NUL, shows
    at the buffer's own size.
    """
    peer = server.connect()
    for number, size in enumerate(SMALL):
        with within(count(size, "byte")):
            ask(peer, pattern(size, number))


@asked("datagram/cut-off", group=GROUP, defects=(82,),
       source="recv(2), MSG_TRUNC; recvfrom(2): excess bytes of a datagram "
              "may be discarded",
       hints=["What does not fit into the buffer of recvfrom() is gone, and "
              "the result does not say so.",
              "With the flag MSG_TRUNC recvfrom() returns the true length; "
              "recvmsg() sets MSG_TRUNC in msg_flags."],
       by_hand="""head -c 3000 /dev/zero | tr '\\0' x | nc -u -W 1 HOST PORT |
                  wc -c   must print 3000 or 0, but not 2048""")
def test_cut_off(server):
    """A datagram that is too large for the server is not answered in part.

    The client can't tell a part from the whole. Without an answer it knows
    at least that something is wrong.
    """
    peer = server.connect()
    ask(peer, LINE)
    for size in CUT:
        request = pattern(size)
        peer.send(request)
        server.expect_alive(f"a datagram of {size:,} bytes")
        for came in peer.read():
            if came != upper(request):
                raise Failure(
                    "wrong-bytes", f"{count(size, 'byte')} were asked for, "
                    f"and {len(came):,} came back: the rest was cut off "
                    "unnoticed", mismatch=mismatch(upper(request), came))


@asked("datagram/whole-range", group=GROUP, defects=(82, 84),
       source="RFC 768: the length has 16 bits; RFC 791 3.1: so has that of "
              "IP, and 28 bytes are headers; the contract of the lesson",
       hints=["The largest datagram over IPv4 has 65,507 bytes.",
              "Give recvfrom() a buffer of 65,535 bytes or more, static or "
              "from malloc()."],
       by_hand="""
       python3 -c "import socket; s = socket.socket(2, 2); s.settimeout(1)
       s.sendto(b'x' * 65507, ('HOST', PORT)); print(len(s.recv(65535)))"
       """)
def test_whole_range(server):
    """Datagrams of every size that UDP can carry are answered whole.

    Nobody can ask for the rest of a datagram later: the buffer must be
    large enough for the largest before it comes.
    """
    peer = server.connect()
    for number, size in enumerate(LARGE):
        with within(count(size, "byte")):
            ask(peer, pattern(size, number))


@asked("datagram/short-after-long", group=GROUP, defects=(7,),
       source="recvfrom(2), RETURN VALUE",
       hints=["The buffer still holds the datagram before.",
              "Send as many bytes as recvfrom() has returned, not the "
              "buffer's size and not up to a NUL."],
       by_hand="""(printf 'a long line'; sleep 1; printf 'x') |
                  nc -u -W 2 HOST PORT   must print A LONG LINEX""")
def test_short_after_long(server):
    """A short datagram after a long one is answered with its own bytes.

    What is left of the other in the buffer may be another client's secret.
    """
    ask(server.connect(), pattern(2000))
    ask(server.connect(), word())


@asked("datagram/letters-only", group=GROUP, defects=(4, 119, 120),
       source="toupper(3); the contract of the lesson",
       hints=["A datagram has a length and no end mark: a NUL is a byte like "
              "any other.",
              "Change the letters a to z, with an unsigned char, and leave "
              "all other bytes of ASCII as they are."],
       by_hand="""printf 'a\\000%%n[z]{|}~' | nc -u -W 1 HOST PORT | od -c""")
def test_letters_only(server):
    """Of the 128 characters of ASCII the letters change and nothing else.

    NUL, newline and per cent sign are text as well, at any place in it.
    """
    ask(server.connect(), word() + bytes(range(128)) + b"%n%s\r\n\0a\0")


@asked("datagram/many-senders", group=GROUP, defects=(88, 91, 126),
       source="recvfrom(2): src_addr and addrlen are set by each call; "
              "recvmmsg(2)",
       hints=["Several datagrams may wait at once, each from somebody else.",
              "Set the length of the address anew before each call, and keep "
              "address, length and text of each datagram together."],
       by_hand="""kill -STOP the server, start nc -u three times with a line
                  each, kill -CONT: each must get its own line.""")
def test_many_senders(server):
    """What waits from several clients is answered to each, in order.

    The server is stopped while they send, so that it finds them all in its
    queue and may take them together.
    """
    peers = [server.connect() for _ in range(5)]
    texts = [[pattern(size, size + number) for size in (40, 1, 700, 0, 9, 64)]
             for number in range(len(peers))]
    server.freeze()
    for turn in range(len(texts[0])):
        for peer, text in zip(peers, texts):
            peer.send(text[turn])
    server.thaw()
    for number, (peer, text) in enumerate(zip(peers, texts), start=1):
        with within(f"client {number} of {len(peers)}"):
            for each in text:
                peer.expect(upper(each))
            peer.expect_silence()


@asked("datagram/refused", group=GROUP, defects=(89,),
       source="udp(7), ECONNREFUSED; ip(7), IP_RECVERR; RFC 1122 4.1.3.3",
       hints=["A client may be gone before its answer comes. Its machine then "
              "says so by ICMP.",
              "ECONNREFUSED from recvfrom() or sendto() is about an answer "
              "sent before: go on."],
       by_hand="""kill -STOP the server; echo x | timeout 1 nc -u HOST PORT;
                  kill -CONT: the server must live and serve the next.""")
def test_refused(server):
    """An answer that nobody takes any more does not end the server.

    The client has gone while the server was busy. The ICMP error that the
    answer causes may be told to the server at its next call.
    """
    server.freeze()
    gone = server.connect()
    gone.send(LINE)
    gone.close()
    server.thaw()
    still_served(server, "an answer to a client that is gone")


@asked("datagram/error-of-one", group=GROUP, defects=(89,), plans=True,
       source="udp(7), ECONNREFUSED; recv(2), ERRORS",
       hints=["The socket is everybody's: an error that one client has caused "
              "must not end it.",
              "Tell ECONNREFUSED and its kin from EBADF; after the first kind "
              "call recvfrom() again."],
       by_hand="""
       LD_PRELOAD=build/src/fault_preload.so \\
       SOCKSTEP_FAULTS='recv@2=ECONNREFUSED' SERVER -P PORT
       """)
def test_error_of_one(launch_server):
    """An error that one client's network caused does not end the server.

    One socket serves all. What ICMP says of the answer to one is handed to
    the call that waits for the next.
    """
    server = launch_server(plan="recv@2=ECONNREFUSED")
    ask(server.connect(), LINE)
    still_served(server, "ECONNREFUSED from the network")


@asked("datagram/send-failed", group=GROUP, defects=(92,), plans=True,
       source="sendto(2), ERRORS; udp(7): UDP gives no guarantee of delivery",
       hints=["An answer that can't be sent is a lost one: its client asks "
              "again.",
              "Say why sendto() failed, and go back to recvfrom(); do not try "
              "until it can be sent."],
       by_hand="""
       LD_PRELOAD=build/src/fault_preload.so \\
       SOCKSTEP_FAULTS='send@1=ENETUNREACH' SERVER -P PORT
       # and with 'send@*=EPERM': top must show it at rest
       """)
def test_send_failed(launch_server):
    """An answer that cannot be sent costs no other client anything.

    There is no way to one of them at present, a rule of the firewall
    forbids it, or memory is short for a moment. What forbids it may last:
    whoever tries again until it is sent serves nobody meanwhile.
    """
    for reason in ("ENETUNREACH", "EPERM", "ENOBUFS"):
        server = launch_server(plan=f"send@1={reason}")
        server.connect().send(LINE)
        still_served(server, f"{reason} from sendto()")
        server.done()
    server = launch_server(plan="send@*=EPERM")
    server.connect().send(LINE)
    server.expect_alive("EPERM from each sendto()")
    server.connect().send(OTHER)

    def unread():
        own = server.program.socket_inodes()
        return any(row.receive_queue for row
                   in server.stage.diag.datagram_sockets() if row.inode in own)

    def tried():
        return sum(call.injected for call in server.program.calls())
    server.stage.wait(lambda: not unread() or tried() > MOST_TRIES, None,
                      "while sendto() fails another datagram is not read",
                      program=server.program)
    if unread():
        raise Failure("stuck", f"one answer was tried {tried()} times, and "
                      "each time sendto() failed with EPERM; meanwhile the "
                      "datagram of another client is not read")


@asked("datagram/interrupted", group=GROUP, defects=(19, 20), plans=True,
       source="recv(2) and send(2), EINTR; signal(7)",
       hints=["EINTR says that a signal came before anything was done.",
              "Make the same call again, as often as it takes."],
       by_hand="""
       LD_PRELOAD=build/src/fault_preload.so \\
       SOCKSTEP_FAULTS='recv@2-3=EINTR;send@1-2=EINTR;wait@2-3=EINTR' \\
       SERVER -P PORT
       """)
def test_interrupted(launch_server):
    """A signal that interrupts a call costs no client its answer.

    A datagram is received or sent whole or not at all, so that the same
    call can be made again.
    """
    server = launch_server(plan="recv@2-3=EINTR; send@1-2=EINTR; "
                           "wait@2-3=EINTR")
    ask(server.connect(), LINE)
    still_served(server, "a signal that interrupted a call")


@asked("datagram/asked-address", group=GROUP, defects=(90,), options=True,
       source="ip(7), IP_PKTINFO; RFC 1122 4.1.3.5: the answer should come "
              "from the address that was asked",
       hints=["A socket that is bound to all addresses leaves it to the "
              "routing table from which one it answers.",
              "Set IP_PKTINFO, take the address from the control message of "
              "recvmsg(), and give it to sendmsg() in one."],
       by_hand="""Start the server without -H.
                  echo hello | nc -u -W 1 127.0.0.2 PORT   must print HELLO""")
def test_asked_address(launch_server):
    """The answer comes from the address that the client has asked.

    A client that is connected to that address, and a firewall on the way,
    take an answer from another one for a stranger's.
    """
    server = launch_server(host=None)
    for host in (LOOPBACK, "127.0.0.2", "127.1.2.3"):
        peer = server.stage.open_datagrams(LOOPBACK, (host, server.port))
        ask(peer, LINE)
        if peer.sender[0] != host:
            raise Failure("wrong-bytes", f"{host} was asked, and the answer "
                          f"came from {peer.sender[0]}")


@asked("datagram/ipv6", group=GROUP, defects=(98,), level=SHOULD,
       options=True, source="ipv6(7); getaddrinfo(3), AF_UNSPEC",
       hints=["An address of -H may be of either family.",
              "Ask getaddrinfo() for AF_UNSPEC, and keep addresses in a "
              "struct sockaddr_storage."],
       by_hand="""Start the server with -H ::1.
                  echo hello | nc -u -W 1 ::1 PORT   must print HELLO""")
def test_ipv6(launch_server):
    """With an IPv6 address as its host the server answers there.

    Where the machine has no IPv6, nothing is asked.
    """
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return
    server = launch_server(host="::1")
    for size in (0, 21, 2048):
        ask(server.connect(source="::1"), pattern(size))


@asked("datagram/unicode", group="Text", defects=(9, 120),
       source="Unicode 3.13, toUppercase(X); SpecialCasing.txt; RFC 3629",
       hints=["toupper() knows single bytes, and letters outside of ASCII "
              "have several in UTF-8.",
              "u8_toupper() of libunistring knows all of them. The answer may "
              "be longer than the request."],
       by_hand="printf 'stra\\303\\237e' | nc -u -W 1 HOST PORT is STRASSE")
def test_unicode(server):
    """Letters of every script are answered in upper case, by Unicode's rules.

    Some become longer: the sharp s becomes two letters, an n with an
    apostrophe a character of another length.
    """
    peer = server.connect()
    for text in ("éàü", "straße", "привет, мир", "ΐ ŉ ǰ", "ﬃ ﬁ", "ı i ſ",
                 "ⓐ ａ 𐐨", "日本 no case", "ǆ ǅ", "e\u0301"):
        with within(repr(text)):
            ask(peer, word() + text.encode())


@asked("datagram/no-utf8", group="Text", defects=(9, 120),
       source="RFC 3629 3, 10; the contract of the lesson",
       hints=["A datagram may hold any bytes. Those that are no UTF-8 have no "
              "upper case.",
              "u8_mbtoucr() says whether a character begins here. Where it "
              "does not, copy one byte and go on behind it."],
       by_hand="printf '\\377a\\303' | nc -u -W 1 HOST PORT | od -c")
def test_no_utf8(server):
    """Bytes that are not UTF-8 come back as they are, and end nothing.

    A character that is cut off at the end of a datagram is such a case too:
    the next datagram is no continuation of this one.
    """
    peer = server.connect()
    for text in (b"\xffa\xfe", b"a\xc3", b"\xa9 a", b"\xc0\xafa",
                 b"\xed\xa0\x80a", b"\xf5\x80\x80\x80a", b"\xe2\x82a\xac",
                 b"a\xf0\x90", bytes(range(128, 256)) + b"a"):
        with within(repr(text)):
            ask(peer, text.replace(b"a", word()))


@asked("datagram/answer-too-large", group=GROUP, level=SHOULD, defects=(92,),
       source="the contract of the lesson; send(2), EMSGSIZE",
       hints=["sendto() takes no more than 65,507 bytes: EMSGSIZE.",
              "Send no part of the answer, and go on."],
       by_hand="""
       python3 -c "import socket; s = socket.socket(2, 2); s.settimeout(1)
       s.sendto('\\u0149'.encode() * 32753, ('HOST', PORT))
       print(len(s.recv(65535)))"   must time out""")
def test_answer_too_large(server):
    """An answer that is too large for a datagram is not sent, nor a part.

    The upper case may be longer than its original. Half of an answer would
    look like a whole one, and the original like an answer.
    """
    peer = server.connect()
    ask(peer, "ŉ".encode())             # three bytes for two
    peer.send("ŉ".encode() * (MOST_BYTES // 2))
    server.expect_alive("an answer that is too large")
    for came in peer.read():
        raise Failure("wrong-bytes", "the answer has 98,259 bytes: too many, "
                      f"but one of {len(came):,} came",
                      mismatch=mismatch(b"", came))
    still_served(server, "an answer that is too large")


@asked("signal/finish-queue", group="Signals", defects=(30,),
       source="the program contract: replies under way are finished",
       hints=["What came before the signal has been asked in time.",
              "After the signal, receive with MSG_DONTWAIT until EAGAIN, then "
              "end."],
       by_hand="""kill -STOP the server, echo x | nc -u -W 3 HOST PORT &
                  kill -TERM, then kill -CONT: nc must print X""")
def test_finish_queue(server):
    """Datagrams that came before the signal to end are still answered.

    They wait in the socket's queue, which the kernel throws away when the
    socket is closed.
    """
    peers = [server.connect() for _ in range(3)]
    server.quiet()
    server.freeze()
    for number, peer in enumerate(peers):
        peer.send(pattern(30, number))
    server.program.ended_by_harness = True
    server.program.signal(signal.SIGTERM)
    server.thaw()
    server.expect_ended("SIGTERM")
    for number, peer in enumerate(peers):
        peer.expect(upper(pattern(30, number)))


@asked("leak/datagram-descriptors", group="Resources", defects=(53,),
       source="socket(2), EMFILE; close(2)",
       hints=["One socket serves all clients; nothing is opened for one of "
              "them.",
              "If you do open something for a client, close it with the "
              "answer."],
       by_hand="ls /proc/$(pidof SERVER)/fd after each of some clients")
def test_descriptors(server):
    """No descriptor is left behind by a client that has its answer.

    There is no end of a connection at which it could be given back.
    """
    def held():
        return [number for pid in server.program.tree()
                for number in procfs.descriptors(pid)]

    for number in range(10):
        ask(server.connect(), pattern(20, number))
    server.quiet()
    before = len(held())
    for number in range(20):
        ask(server.connect(), pattern(20, number))
    server.quiet()
    if len(held()) > before:
        raise Failure("leak", f"{len(held()) - before} more descriptors after "
                      "20 more clients")


@asked("leak/datagram-heap", group="Resources", defects=(5, 68),
       valgrind=True, source="malloc(3); recvfrom(2)",
       hints=["Look at where Valgrind says that the memory was allocated.",
              "Only the first bytes of the buffer, as many as recvfrom() "
              "returned, have a value."],
       by_hand="valgrind --leak-check=full SERVER -P PORT, some clients")
def test_heap(server):
    """Memory is used within its bounds and freed, whatever is asked.

    Valgrind sees what is read before it is written, what is written behind
    a buffer, and what is never freed.
    """
    peer = server.connect()
    for number, size in enumerate((0, 1, 2047, 2048)):
        ask(peer, pattern(size, number))
    for text in (pattern(MOST_BYTES), "straße ŉ ΐ".encode(), b"\xff\xc3"):
        peer.send(text)
        server.quiet()


@asked("document/udp-python-client", group="The document",
       source="document 003, 7.1: the client",
       hints=["The document's client sends its line without a newline, from a "
              "port that the kernel chose for it.",
              "Answer to the address that recvfrom() gave you."],
       by_hand="""printf 'one line\\n' |
                  python3 conformance/peers/udp_uppercase_client.py HOST
                  PORT""")
def test_python_client(server):
    """The server serves the document's own client.

    That is what the reader of the document has at hand.
    """
    host, port = server.address
    for line in (b"hello from python, " + word(), b"x"):
        client = server.stage.assist("client", "udp_uppercase_client.py", host,
                                     str(port))
        client.type(line + b"\n")
        server.stage.wait(client.ending, None, "the document's client gets "
                          "no answer", program=server.program)
        due = b"Input lowercase sentence:" + line.upper() + b"\n"
        if client.stdout != due:
            raise Failure("output", "the document's client printed "
                          f"{client.stdout!r} instead of {due!r}",
                          client.stderr.decode(errors="replace")[-500:])
