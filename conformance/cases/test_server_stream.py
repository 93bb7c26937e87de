"""The byte stream, seen from a server: what is sent comes back whole."""
from sockstep.case import STREAMS, case
from sockstep.data import line, pattern, word

GROUP = "Byte stream"

#: The sizes that programs give to their buffers.
BUFFER_SIZES = (16, 32, 64, 100, 128, 255, 256, 512, 1000, 1024, 1460, 1500,
                2048, 4096, 8192, 16384, 32768, 65536)

#: What makes programs use memory that is not theirs; the first three find most.
PAYLOADS = (pattern(1024), b"\0 \0" * 100, pattern(4096),
            *map(pattern, (64, 100, 128, 256, 512, 1000, 2048, 8192)),
            pattern(40000))

STREAM = "RFC 9293 3.8: TCP is a stream of bytes and keeps no boundaries of " \
    "messages"


@case("echo/split-message", role="server", group=GROUP, defects=(1, 3),
      source=f"recv(2); tcp(7); {STREAM}",
      hints=["One recv() returns what has come so far, which may be a part "
             "of the message.",
             "Call recv() in a loop until the message's end has come."],
      transports=STREAMS,
      by_hand="""
      (printf 'The fi'; sleep 1; printf 'rst\\n') | nc -N HOST PORT
      must print "The first".
      """)
def test_split_message(server):
    """A message that comes in several pieces is echoed whole.

    The network cuts a stream where it likes: one send() of the client may
    need many recv() of the server.
    """
    peer = server.connect()
    pieces = b"The fi", b"rst, the sec", b"ond, the last: %s\n" % word()
    for piece in pieces:
        peer.send(piece)
        server.quiet()
    peer.half_close()
    peer.expect(b"".join(pieces))
    peer.expect_end()


@case("echo/every-offset", role="server", group=GROUP, defects=(3, 9, 12),
      source=f"recv(2), RETURN VALUE; {STREAM}",
      hints=["A piece may be one byte long, and it may begin or end anywhere, "
             "even inside a character of UTF-8.",
             "Don't look at a piece as if it were a line: use the number that "
             "recv() returned, and nothing else, to tell how much came."],
      transports=STREAMS,
      by_hand="""
      for i in 1 2 3 4 5 6 7 8; do
          { printf 'a line.\\n' | head -c $i; sleep 0.3
            printf 'a line.\\n' | tail -c +$((i + 1)); } | nc -N HOST PORT
      done
      must print the line eight times (start a server that serves one client
      again for each).
      """)
def test_every_offset(server):
    """A line is echoed whole wherever it is cut in two.

    A program that treats pieces of one byte, or the place of the newline in
    the piece, in a special way works until the network cuts there.
    """
    text = word() + " ï한\n".encode()
    for cut in range(1, len(text)):
        server = server if cut == 1 else server.again()
        peer = server.connect()
        peer.send(text[:cut])
        server.quiet()
        peer.send(text[cut:])
        peer.expect(text)


@case("echo/coalesced-lines", role="server", group=GROUP, defects=(2,),
      messages=("many",), source=f"recv(2); tcp(7); {STREAM}",
      hints=["One recv() may bring more than one message.",
             "Send back every byte that recv() returned, also those behind "
             "the first newline."],
      transports=STREAMS,
      by_hand="""
      kill -STOP the server, type three lines into nc HOST PORT, then
      kill -CONT the server: three lines must come back.
      """)
def test_coalesced_lines(server):
    """Several lines that come together are all echoed.

    The kernel joins what several send() of the client have brought while the
    server was busy: one recv() then returns all of it.
    """
    peer = server.connect()
    server.quiet()
    server.freeze()
    lines = b"the first\n", b"second line\n", word() + b"\n"
    for text in lines:
        peer.send(text)
    server.thaw()
    peer.expect(b"".join(lines))


@case("echo/embedded-nul", role="server", group=GROUP, defects=(4,),
      source="recv(2), RETURN VALUE; POSIX.1-2017, strlen(): the length up to "
             "a terminating NUL",
      hints=["What recv() stores is bytes, not a string of C.",
             "Use the number that recv() returned, never strlen(), to say "
             "how many bytes there are."],
      transports=STREAMS,
      by_hand="""
      printf 'be\\0tween\\n' | nc -N HOST PORT | od -c
      must show the \\0 and all that follows it.
      """)
def test_embedded_nul(server):
    """Bytes of value 0 are echoed like any other, and so is what follows.

    A string of C ends at its first NUL, a message does not: strlen(),
    strcpy() and "%s" lose everything behind it.
    """
    peer = server.connect()
    text = b"\0%s, be\0tween, and after\0\n" % word()
    peer.send(text)
    peer.expect(text)


@case("echo/all-bytes", role="server", group=GROUP, defects=(9, 120),
      source="recv(2); C11 6.2.5 p15: whether char is signed is "
             "implementation-defined; RFC 3629 3: octets that UTF-8 forbids",
      hints=["Every byte from 0 to 255 may come, also those that are no text.",
             "Keep the result of a function that returns EOF in an int, look "
             "at bytes as unsigned char, and decode nothing that is only to "
             "be sent back."],
      transports=STREAMS,
      by_hand="""
      python3 -c 'import sys; sys.stdout.buffer.write(bytes(
          [n for n in range(256) if n != 10]) + b"\\n")' |
          nc -N HOST PORT | od -An -tu1
      must show all numbers from 0 to 255, 10 at the end.
      """)
def test_all_bytes(server):
    """Every value of a byte is echoed unchanged, valid text or not.

    A signed char makes bytes above 127 negative, and 255 equal to EOF; a
    decoder stops at, or replaces, what is not valid UTF-8.
    """
    peer = server.connect()
    values = bytes(value for value in range(256) if value != ord("\n"))
    invalid = b"\x80 \xc3( \xc0\xaf \xed\xa0\x80 \xf5\x80\x80\x80 \xff\xff\xfe"
    text = word() + values + invalid + b"\n"
    peer.send(text)
    peer.expect(text)


@case("echo/buffer-sizes", role="server", group=GROUP, defects=(6, 128),
      messages=("many",), source="recv(2): at most the length that was given "
      "is stored, and no NUL behind it",
      hints=["What happens when the message is exactly as long as the "
             "buffer? And one byte longer?",
             "Give recv() no more than the size of the buffer, and go on with "
             "the next recv() for what did not fit."],
      transports=STREAMS,
      by_hand="""
      for n in 1023 1024 1025; do
          head -c $n /dev/zero | tr '\\0' x | nc -N HOST PORT | wc -c
      done
      must print 1023, 1024 and 1025.
      """)
def test_buffer_sizes(server):
    """Lines as long as a buffer, one byte shorter and one longer, are whole.

    Faults by one show only where a message and a buffer end together, and
    that is where few people try.
    """
    peer = server.connect()
    for size in BUFFER_SIZES:
        for length in (size - 1, size, size + 1):
            text = line(length, seed=length)
            peer.send(text)
            peer.expect(text)


@case("echo/stale-bytes", role="server", group=GROUP, defects=(7,),
      source="recv(2), RETURN VALUE; send(2): the length is that of the "
             "message",
      hints=["Look at which length send() is given.",
             "Send as many bytes as recv() returned, not the size of the "
             "buffer: the rest of it is what an earlier message left there."],
      transports=STREAMS,
      by_hand="""
      (echo a rather long message; sleep 1; echo hi) | nc -N HOST PORT | od -c
      must show nothing that was not sent.
      """)
def test_stale_bytes(server):
    """A short message is echoed without bytes of an earlier one.

    What else is in the buffer may be another message, or whatever memory
    held before: sending it tells strangers about both.
    """
    peer = server.connect()
    if server.target.contract.messages == "many":
        text = line(700)
        peer.send(text)
        peer.expect(text)
        peer.expect_silence()
    peer.send(word() + b"\n")
    peer.expect(word() + b"\n")
    peer.expect_silence()


@case("echo/unterminated-end", role="server", group=GROUP, defects=(8,),
      source="shutdown(2); POSIX.1-2017, 3.206 Line: a last line may lack its "
             "newline",
      hints=["The end of the stream ends a message as well as a newline does.",
             "When recv() returns 0, everything that came before must have "
             "been sent back, newline or not."],
      transports=STREAMS,
      by_hand="printf 'no newline' | nc -N HOST PORT\nmust print it.")
def test_unterminated_end(server):
    """A last message without a newline is echoed, too.

    Files and programs often end without a newline; a server that waits for
    one drops their last words.
    """
    peer = server.connect()
    text = b"the last words: " + word()
    peer.send(text)
    peer.half_close()
    peer.expect(text)


@case("echo/carriage-return", role="server", group=GROUP, defects=(8,),
      source="RFC 854, The NVT Printer and Keyboard: telnet ends lines with "
             "CR LF",
      hints=["telnet and many programs end a line with \\r\\n.",
             "An echo changes nothing: don't cut off \\r, and don't take it "
             "for an end."],
      transports=STREAMS,
      by_hand="""
      printf 'dos line\\r\\n' | nc -N HOST PORT | od -c
      must show \\r \\n at the end.
      """)
def test_carriage_return(server):
    """Carriage returns are echoed as they came, alone or before a newline.

    "Trimming" a line changes the client's data, and the client can't tell
    that from a fault of the network.
    """
    peer = server.connect()
    text = b"%s: one \r within, two \r\r, one at the end\r\n" % word()
    peer.send(text)
    peer.expect(text)


@case("echo/format-characters", role="server", group=GROUP, defects=(119,),
      source="printf(3), BUGS: printf(foo) with foo from untrusted input; "
             "CWE-134",
      hints=["Look for a printf() or a relative of it whose format came from "
             "the network.",
             "Print with a fixed format or with fwrite(); send with send()."],
      transports=STREAMS,
      by_hand="""
      printf '%%s%%s%%s%%s%%s%%s%%n%%n\\n' | nc -N HOST PORT
      must print %s%s%s%s%s%s%n%n.
      """)
def test_format_characters(server):
    """Characters that printf() would interpret are echoed like any other.

    As a format, %s reads memory that was never meant, and %n writes to it:
    that is how strangers take programs over.
    """
    peer = server.connect()
    text = b"%s%n" * 24 + b" %x %d %5$s %% 100% " + word() + b"\n"
    peer.send(text)
    peer.expect(text)


@case("echo/as-it-comes", role="server", group=GROUP, defects=(1, 124),
      source="documents 000, 001: the clients send no newline and wait for "
             "the echo",
      hints=["The documents' clients send a message without a newline and "
             "then wait for its echo.",
             "Send back what recv() returned before you call recv() again."],
      transports=STREAMS,
      by_hand="""
      In python3:
      import socket; s = socket.create_connection(("HOST", PORT))
      s.send(b"no newline"); s.recv(100)
      must show the echo.
      """)
def test_as_it_comes(server):
    """Bytes are echoed when they come, before any newline.

    Where the server waits for the end of a line and the client for its echo,
    both wait for ever.
    """
    peer = server.connect()
    text = b"no newline yet: " + word()
    peer.send(text)
    peer.expect(text)


@case("echo/large-message", role="server", group=GROUP, defects=(1, 10),
      source=f"recv(2); send(2); {STREAM}",
      hints=["The message is far longer than any buffer of yours.",
             "Nothing in an echo needs the message as a whole: recv() a "
             "piece, send it back, and so on until the end."],
      transports=STREAMS,
      by_hand="""
      head -c 1048575 /dev/zero | tr '\\0' x > /tmp/m; echo >> /tmp/m
      nc -N HOST PORT < /tmp/m | cmp - /tmp/m
      must print nothing.
      """)
def test_large_message(server):
    """A message of one mebibyte is echoed whole while it is being sent.

    A fixed limit that nobody told the client, or a counter that is too
    small, cuts what is long.
    """
    peer = server.connect()
    text = line(1 << 20)
    peer.send(text)
    peer.expect(text)


@case("memory/misuse", role="server", group=GROUP, defects=(4, 5, 6, 125),
      valgrind=True, source="recv(2): no NUL is stored behind the data; C11 "
      "J.2: undefined behaviour; Valgrind manual, 4.2 Explanation of error "
      "messages from Memcheck",
      hints=["Valgrind names the line. Which bytes of the buffer did recv() "
             "really fill?",
             "There is no NUL behind what came: \"%s\", strlen() and strchr() "
             "run on into bytes that are not yours. If you store one "
             "yourself, leave room for it."],
      transports=STREAMS,
      by_hand="""
      valgrind PROGRAM -P PORT, and then
      head -c 1024 /dev/zero | tr '\\0' x | nc -N HOST PORT
      must show no error of Valgrind's.
      """)
def test_misuse(server):
    """No message makes the server read or write memory that is not its own.

    Payloads of exactly the usual buffer sizes, NULs and a long line find the
    byte too many; Valgrind sees it even where nothing crashes.
    """
    peer = server.connect()
    peer.send(word())
    peer.expect(word())             # else there is nothing to find
    for number, data in enumerate(PAYLOADS):
        if peer.end:                # it takes one piece for the message
            if number == 3:
                break
            server = server.again()
            peer = server.connect()
        peer.send(data)
        server.quiet()
        peer.read()
