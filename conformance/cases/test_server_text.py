"""Text that a server turns into capitals: characters, not bytes."""
import os
import unicodedata
from pathlib import Path

from sockstep.case import case
from sockstep.data import capitals, character_at, line, pattern, word
from sockstep.failure import Failure, within

GROUP = "Text"
#: The sizes that programs give to their buffers.
BUFFER_SIZES = (16, 32, 64, 100, 128, 255, 256, 512, 1000, 1024, 1460, 1500,
                2048, 4096, 8192, 16384, 32768, 65536)
#: More than the buffers of both ends hold while the client does not read.
TOO_MUCH = 8 << 20
#: What is no UTF-8, with its reason.
INVALID = {
    "a continuation byte without its first byte": b"\x80",
    "a two-byte character that lacks its second byte": b"\xc3",
    "a three-byte character that lacks its last byte": b"\xe1\xba",
    "a four-byte character that lacks its last two bytes": b"\xf0\x90",
    "a slash in two bytes, one too many": b"\xc0\xaf",
    "an NUL in three bytes, two too many": b"\xe0\x80\x80",
    "half of a surrogate pair": b"\xed\xa0\x80",
    "a character beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "a first byte of five": b"\xf8\x88\x80\x80\x80",
    "a byte that UTF-8 never has": b"\xff",
}
#: Where the C library of Debian and Ubuntu has its locale of UTF-8.
C_UTF8 = [Path("/usr/lib/locale") / name for name in ("C.utf8", "C.UTF-8")]

STREAM = "RFC 9293 3.8: TCP is a stream of bytes and keeps no boundaries of " \
    "messages"
UTF8 = "RFC 3629 3: the forms of UTF-8"
MAPPING = "The Unicode Standard, 3.13, rule R1: toUppercase(X) maps each " \
    "character of X; SpecialCasing.txt"


def ask(server, text):
    """A new client sends `text` and its end; the capitals come back."""
    peer = server.connect()
    peer.send(text)
    peer.half_close()
    expect(peer, text)
    return peer


def expect(peer, text):
    """The capitals of `text` come, or a failure names the first wrong one."""
    try:
        peer.expect(capitals(text))
    except Failure as failure:
        if failure.kind != "wrong-bytes" or failure.mismatch is None:
            raise
        small, upper = character_at(text, failure.mismatch.offset)
        raise Failure(failure.kind, f"{_named(small)} must come back as "
                      f"{_named(upper) if upper != small else 'it is'}: "
                      f"{failure.message}", failure.detail,
                      failure.mismatch) from None


def _named(characters):
    """Such as "é (U+00E9)"; only the number of what can't be shown."""
    if any(0xdc80 <= ord(each) <= 0xdcff for each in characters):
        return f"the byte {ord(characters) - 0xdc00:02x}, which is no UTF-8,"
    codes = " ".join(f"U+{ord(each):04X}" for each in characters)
    return f"{characters} ({codes})" if characters.isprintable() else codes


def known_characters():
    """Characters of which every version of Unicode since 4.1 says the same.

    Letters may get a capital in a later version. So what counts is what was
    there in version 3.2, with its capitals; a small letter without one is
    left out, and so are what no text may have and the newline.
    """
    old = unicodedata.ucd_3_2_0
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character) in ("Cs", "Cn", "Co") or \
                character == "\n" or old.category(character) == "Cn":
            continue
        upper = character.upper()
        if upper == character:
            if unicodedata.category(character) != "Ll":
                yield character
        elif all(old.category(each) != "Cn" for each in upper):
            yield character


@case("text/ascii", role="server", group=GROUP, defects=(120,),
      services=("uppercase",),
      source="document 003, 7.2; POSIX.1-2017, toupper()",
      hints=["Which bytes are small letters? Look at a table: man ascii.",
             "Change the bytes from 'a' to 'z' and no others; toupper() in "
             "the locale C does that."],
      by_hand="""
      printf 'abc xyz ABC `{|}~ @[]^_ 12\\n' | nc -N HOST PORT
      must print ABC XYZ ABC `{|}~ @[]^_ 12""")
def test_ascii(server):
    """The letters from a to z come back as capitals, all else as it came.

    Between and behind the letters of ASCII are other characters, whose bits
    look like those of letters.
    """
    ask(server, bytes(range(0x20, 0x7f)) + word() + b"\ta line\n")


@case("text/small-letters", role="server", group=GROUP, defects=(120,),
      services=("uppercase",), source=f"{MAPPING}; UnicodeData.txt",
      hints=["A letter beyond ASCII is two to four bytes in UTF-8: what does "
             "toupper() do with each of them?",
             "Decode the bytes to characters, turn each into its capital, "
             "encode that. It may have more bytes than the letter, or fewer."],
      by_hand="""
      echo 'é ÿ я ω ς ɐ ı ſ' | nc -N HOST PORT
      must print É Ÿ Я Ω Σ Ɐ I S""")
def test_small_letters(server):
    """Small letters of every alphabet come back as capitals.

    A text is not English only. Some capitals are shorter or longer in UTF-8
    than the small letter, so that positions in the reply are not those in the
    request.
    """
    for text in ("été, àçñöþ ÿ", "жук я ѓ", "ω ά ς σ", "ա ֆ", "ẻ ỹ ⓐ ａ",
                 "ɐɐɐ", "ⱥ", "ı ſ", "µ", "𐐨𐑏"):
        with within(f"with the line {text}"):
            ask(server, word() + f" {text}\n".encode())
            server = server.again()


@case("text/sharp-s", role="server", group=GROUP, services=("uppercase",),
      source=f"{MAPPING}; document 003: upper() of Python",
      hints=["The German letter ß has no single capital here. What does your "
             "function return for it?",
             "towupper() gives one character for one. Use a library that "
             "knows Unicode's full rules, such as u8_toupper() of "
             "libunistring."],
      by_hand="echo straße | nc -N HOST PORT\nmust print STRASSE")
def test_sharp_s(server):
    """The word straße comes back as STRASSE.

    Unicode has characters whose capital is two characters or three. A
    function from one character to one cannot tell that.
    """
    ask(server, "straße und maß, ".encode() + word() + b"\n")


@case("text/one-to-many", role="server", group=GROUP,
      services=("uppercase",), source=MAPPING,
      hints=["ß is not the only one: ligatures, letters with two accents, "
             "Greek, Armenian.",
             "Don't list them by hand: SpecialCasing.txt has a hundred. Use "
             "u8_toupper()."],
      by_hand="echo 'ﬁn oﬃce ŉ ΐ ǰ և ᾳ' | nc -N HOST PORT\n"
              "must print FIN OFFICE ʼN Ϊ́ J̌ ԵՒ ΑΙ")
def test_one_to_many(server):
    """Ligatures and letters with several accents become all of their capitals.

    There are about a hundred such characters. Who treats ß alone in a special
    way has the next one wrong.
    """
    for text in ("ﬁn oﬃce ﬂ ﬆ", "ŉ ǰ ẖ ẗ", "ΐ ΰ ὐ ᾳ ᾷ ῼ", "և ﬓ"):
        with within(f"with the line {text}"):
            ask(server, word() + f" {text}\n".encode())
            server = server.again()


@case("text/caseless", role="server", group=GROUP, defects=(120,),
      services=("uppercase",), source="The Unicode Standard, 4.2: Case",
      hints=["Most characters have no capital. What do you make of them?",
             "Change only what has a capital. Don't calculate with bits: ÷ "
             "and × lie among the letters."],
      by_hand="echo '한국어 漢字 שלום ÷ ÀÉ ẞ 🙂' | nc -N HOST PORT\n"
              "must print the same")
def test_caseless(server):
    """Capitals, and characters that have none, come back as they came.

    Most of the scripts of the world have no capitals, and neither have signs
    that stand in the tables between the letters.
    """
    text = "한국어 漢字 かな שלום مرحبا ÷×¿ ÀÉ ΩЖ ẞ ① € 🙂 𝄞"
    ask(server, word() + f" {text}\n".encode())


@case("text/every-character", role="server", group=GROUP, defects=(120,),
      services=("uppercase",), source=f"{MAPPING}; UnicodeData.txt",
      hints=["Most alphabets are right already. Which character is at the "
             "first wrong byte? python3 -c 'print(chr(0x...).upper())'",
             "Take the capitals from one source for all: u8_toupper() with "
             "NULL for the language and for the normalization."],
      by_hand="""
      python3 -c 'print("".join(chr(n) for n in range(32, 0x2fff)))' > /tmp/m
      nc -N HOST PORT < /tmp/m |
          python3 -c 'import sys; print(sys.stdin.read() ==
                      open("/tmp/m").read().upper())'
      must print True""")
def test_every_character(server):
    """Every character comes back as Unicode has it, alone and in a long line.

    The characters are those whose capitals no version of Unicode since 4.1
    has changed, so that it does not matter which one the program knows.
    """
    text = "".join(known_characters())
    ask(server, word() + text.encode() + b"\n")


@case("text/locale", role="server", group=GROUP, defects=(120,),
      services=("uppercase",),
      source="setlocale(3); toupper(3): the locale decides; "
             "SpecialCasing.txt: i in Turkish",
      hints=["The same request, and another reply: who has started the "
             "server, with which LC_ALL and LANG?",
             "The client does not know the server's locale. Don't call "
             "setlocale(); give u8_toupper() NULL for the language, not "
             "uc_locale_language()."],
      by_hand="""
      LC_ALL=C SERVER -P PORT
      # in a second terminal, must print FIÉ:
      echo fié | nc -N HOST PORT""")
def test_locale(launch_server, stage):
    """The reply does not depend on the locale that the server was started in.

    The request is in UTF-8 wherever the server runs, and its author need not
    write Turkish, where the capital of i has a dot, because the server does.
    """
    turkish = stage.directory / "locales" / "tr_TR.UTF-8"
    turkish.parent.mkdir()
    for folder in C_UTF8:       # its name is what counts, not what it holds
        if folder.is_dir() and not turkish.exists():
            turkish.symlink_to(folder)
    for name in ("C", "C.UTF-8", turkish.name, "xx_XX.none"):
        with within(f"with LC_ALL={name}"):
            server = launch_server(environment={
                "LC_ALL": name, "LANG": name,
                "LOCPATH": os.fspath(turkish.parent)
                if name == turkish.name else ""})
            ask(server, word() + " fié ı straſe\n".encode())
            server.done()


@case("text/all-bytes", role="server", group=GROUP, defects=(120,),
      services=("uppercase",),
      source=f"{UTF8}; toupper(3): its argument is an unsigned char or EOF; "
             "C11 6.2.5 p15: whether char is signed",
      hints=["Every byte from 0 to 255 may come, also those that are no text.",
             "Look at bytes as unsigned char. What is no UTF-8 is to go back "
             "as it came."],
      by_hand="""
      python3 -c 'import sys; sys.stdout.buffer.write("é".encode() + bytes(
          [n for n in range(256) if n != 10]) + b"\\n")' |
          nc -N HOST PORT | od -An -tx1
      must show c3 89 and then all values, those of a to z twice less""")
def test_all_bytes(server):
    """Bytes of every value come back, and letters among them as capitals.

    A char with a sign makes bytes above 127 negative, and toupper() of a
    negative number reads memory in front of its table.
    """
    values = bytes(value for value in range(256) if value != ord("\n"))
    ask(server, word() + " é ".encode() + values + " é\n".encode())


@case("text/invalid-bytes", role="server", group=GROUP, defects=(9,),
      services=("uppercase",),
      source=f"{UTF8} and its security considerations; the contract of "
             "lesson 04; The Unicode Standard, 3.9, table 3-7",
      hints=["What is no UTF-8 goes back as it came. How does the program "
             "know where the next character begins?",
             "Pass on one byte of what is wrong and look again at the next: "
             "a first byte that lacks the others must not swallow the "
             "character behind it."],
      by_hand="""
      printf 'é\\377é\\303é\\355\\240\\200é\\n' | nc -N HOST PORT | od -An -tx1
      must show c3 89 ff c3 89 c3 c3 89 ed a0 80 c3 89 0a""")
def test_invalid_bytes(server):
    """What is no UTF-8 comes back unchanged, the characters around it changed.

    Files have bytes of other encodings, and of errors. A reply that loses
    them, or that has U+FFFD in their place, destroys the client's data.
    """
    for why, wrong in INVALID.items():
        with within(f"with {why}, between two letters"):
            ask(server, word() + b"\xc3\xa9" + wrong + b"\xc3\xa9z\n")
            server = server.again()


@case("text/truncated-end", role="server", group=GROUP, defects=(9, 32),
      services=("uppercase",), source=f"{UTF8}; the contract of lesson 04",
      hints=["The message ends in the middle of a character. Where are the "
             "bytes that your program holds back?",
             "At the newline and at the end of the stream nothing more can "
             "come: send what is held back as it is."],
      by_hand="""
      printf 'é\\360\\237' | nc -N HOST PORT | od -An -tx1
      must show c3 89 f0 9f""")
def test_truncated_end(server):
    """A character that the message's end cuts off comes back as it came.

    A program that waits for the rest of a character must stop to wait at the
    message's end, which may be its newline or the end of the stream.
    """
    for tail in (b"\xc3", b"\xe1\xba", b"\xf0\x90\x90"):
        for end in (b"\n", b""):
            with within(f"with {tail.hex(' ')} before the "
                        + ("newline" if end else "end of the stream")):
                ask(server, word() + b"\xc3\xa9" + tail + end).expect_end()
                server = server.again()


@case("text/invalid-next-client", role="server", group=GROUP, defects=(37,),
      services=("uppercase",), clients=("in-turn", "many"),
      source="document 003, 7.2: decode() raises UnicodeDecodeError, and the "
             "server ends",
      hints=["One client sends what is no UTF-8. Who is punished for it?",
             "Bytes of a client must never end the server: it may at most "
             "close that one connection."],
      by_hand="""
      printf '\\377\\n' | nc -N HOST PORT; echo next | nc -N HOST PORT
      must print NEXT""")
def test_invalid_next_client(server):
    """A client that sends what is no UTF-8 does not end the server.

    The document's own server ends at such bytes: anybody can stop it by
    sending one.
    """
    peer = server.connect()
    peer.send(b"\xff\xc3(\n")
    peer.half_close()
    server.expect_alive("a line that is no UTF-8")
    peer.close()
    server.exchange()


@case("text/split-message", role="server", group=GROUP, defects=(1, 3),
      services=("uppercase",), source=f"recv(2); {STREAM}",
      hints=["One recv() returns what has come so far, which may be a part "
             "of the message.",
             "Call recv() in a loop until the newline or the end of the "
             "stream has come."],
      by_hand="""
      (printf 'the fi'; sleep 1; printf 'rst\\n') | nc -N HOST PORT
      must print THE FIRST""")
def test_split_message(server):
    """A message that comes in several pieces is answered whole.

    The network cuts a stream where it likes: one send() of the client may
    need many recv() of the server.
    """
    peer = server.connect()
    pieces = b"the fi", b"rst, the sec", b"ond, the last: %s\n" % word()
    for piece in pieces:
        peer.send(piece)
        server.quiet()
    peer.expect(b"".join(pieces).upper())
    peer.expect_end()


@case("text/split-character", role="server", group=GROUP, defects=(3, 9),
      services=("uppercase",), source=f"recv(2); {UTF8}; {STREAM}",
      hints=["A piece may end after the first byte of a character. What does "
             "your program make of that byte?",
             "Keep the bytes of a character that is not complete, three at "
             "most, and put the next piece behind them."],
      by_hand="""
      (printf 'a\\303'; sleep 1; printf '\\251\\n') | nc -N HOST PORT
      must print AÉ""")
def test_split_character(server):
    """A character is one capital wherever it is cut in two.

    Most texts are shorter than a piece, so that this shows only on a busy
    network, and there once in a thousand times.
    """
    text = "aéяẻ𐐨 ".encode() + word() + b"\n"
    for cut in range(1, len(text)):
        with within(f"cut after byte {cut} of {text.hex(' ')}"):
            peer = server.connect()
            peer.send(text[:cut])
            server.quiet()
            peer.send(text[cut:])
            expect(peer, text)
            server = server.again()


@case("text/byte-by-byte", role="server", group=GROUP, defects=(3, 9, 12),
      services=("uppercase",), source=f"recv(2); {UTF8}; {STREAM}",
      hints=["A character may need four recv() to be complete.",
             "Add to the bytes that are kept, as often as it takes; look "
             "anew at all of them each time."],
      by_hand="""
      (for b in '\\360' '\\220' '\\220' '\\250' '\\n'; do
           printf "$b"; sleep 0.3; done) | nc -N HOST PORT
      must print 𐐀""")
def test_byte_by_byte(server):
    """Characters that come one byte at a time are capitals all the same.

    What is kept back has to be kept back again when the next byte does not
    complete it either.
    """
    text = "ẻ𐐨яé ".encode() + word() + b"\n"
    peer = server.connect()
    for value in text:
        peer.send(bytes([value]))
        server.quiet()
    expect(peer, text)
    peer.expect_end()


@case("text/buffer-sizes", role="server", group=GROUP, defects=(6, 9, 128),
      services=("uppercase",), source=f"recv(2); {UTF8}",
      hints=["The message is longer than your buffer, and a character lies "
             "across its end.",
             "It is the same as a character that is split by the network: "
             "keep its bytes for the next recv()."],
      by_hand="""
      for n in 1022 1023 1024; do
          (head -c $n /dev/zero | tr '\\0' x; echo ẻẻ) |
              nc -N HOST PORT | tail -c 8
      done
      must print XẺẺ three times""")
def test_buffer_sizes(server):
    """A character across the end of a buffer is one capital, too.

    No network is needed to split a character: a message that is longer than
    the program's buffer is enough.
    """
    for size in BUFFER_SIZES:
        for before in (size - 2, size - 1, size):
            with within(f"with three bytes from byte {before:,} on"):
                text = pattern(before, before) + "ẻẻ\n".encode()
                ask(server, text)
                server = server.again()


@case("text/growth", role="server", group=GROUP, defects=(6,),
      services=("uppercase",), source=f"{MAPPING}; u8_toupper() of "
      "libunistring: the size of the result",
      hints=["How many bytes may the capitals of one buffer be?",
             "Three times as many: ΐ is two bytes, its capitals are six. Ask "
             "the function how many it has made."],
      by_hand="""
      python3 -c 'print("ΐ" * 8000)' | nc -N HOST PORT | wc -c
      must print 48001""")
def test_growth(server):
    """A reply that is three times as long as its request comes whole.

    A buffer for the reply that is as large as that for the request works for
    English, and for nearly everybody else.
    """
    ask(server, word() + "ΐ".encode() * 8000 + b"\n")


@case("text/embedded-nul", role="server", group=GROUP, defects=(4,),
      services=("uppercase",), source="recv(2), RETURN VALUE; mbrtowc(3): 0 "
      "for a NUL; strlen(3)",
      hints=["A NUL is a character like any other, and no end.",
             "Take the length from recv(), never from strlen()."],
      by_hand="""
      printf 'be\\0tween\\n' | nc -N HOST PORT | od -c
      must show B E \\0 T W E E N""")
def test_embedded_nul(server):
    """Bytes of value 0 come back, and capitals of what follows them.

    A string of C ends at its first NUL, a message does not.
    """
    ask(server, b"\0%s, be\0tween, and after\0\n" % word())


@case("text/carriage-return", role="server", group=GROUP, defects=(8,),
      services=("uppercase",), source="RFC 854, The NVT Printer and "
      "Keyboard: telnet ends lines with CR LF",
      hints=["telnet and many programs end a line with \\r\\n.",
             "A carriage return is no letter: send it back as it came, and "
             "don't take it for an end."],
      by_hand="""
      printf 'dos\\rline\\r\\n' | nc -N HOST PORT | od -c
      must show D O S \\r L I N E \\r \\n""")
def test_carriage_return(server):
    """Carriage returns come back, alone and before the newline.

    Only a newline, or the end of the stream, ends the message.
    """
    ask(server, b"%s: one \r within, \r\r and one at the end\r\n"
        % word()).expect_end()


@case("text/unterminated-end", role="server", group=GROUP, defects=(8, 32),
      services=("uppercase",), source="shutdown(2); POSIX.1-2017, 3.206 "
      "Line: a last line may lack its newline",
      hints=["The end of the stream ends a message as well as a newline does.",
             "When recv() returns 0, everything that came before must have "
             "been answered."],
      by_hand="printf 'no newline' | nc -N HOST PORT\nmust print NO NEWLINE")
def test_unterminated_end(server):
    """A message without a newline, ended by the client's FIN, is answered.

    Both may come together: the FIN says that nothing more comes, and not that
    nobody reads.
    """
    server.freeze()
    peer = server.connect()
    text = b"the last words: " + word()
    peer.send(text)
    peer.half_close()
    server.thaw()
    peer.expect(text.upper())
    peer.expect_end()


@case("text/ends-at-newline", role="server", group=GROUP, defects=(2, 33),
      services=("uppercase",), source="the contract of lesson 04: one request "
      f"a connection; close(2); {STREAM}",
      hints=["Who ends the connection, and when? The client may wait for that.",
             "Look for the newline in each piece: answer up to it, and then "
             "close."],
      by_hand="""
      (echo one; echo two; sleep 5) | nc HOST PORT
      must print ONE at once, and end""")
def test_ends_at_newline(server):
    """The reply and the connection end with the newline.

    What comes behind it is not answered. The client may keep its own
    direction open, and read until the server ends.
    """
    peer = server.connect()
    peer.send(b"one line: %s\nand another\n" % word())
    peer.expect(b"ONE LINE: %s\n" % word().upper())
    peer.expect_end()


@case("text/as-it-comes", role="server", group=GROUP, defects=(1, 124),
      services=("uppercase",), source="document 003, 7.2: the client sends no "
      "newline, keeps the connection open and waits for the reply",
      hints=["The document's client sends a line without its newline, and "
             "waits.",
             "Send the capitals of a piece before you call recv() again."],
      by_hand="""
      In python3:
      import socket; s = socket.create_connection(("HOST", PORT))
      s.send(b"no newline"); s.recv(100)
      must show b'NO NEWLINE'""")
def test_as_it_comes(server):
    """What has come is answered at once, before any newline.

    Where the server waits for the end of the line and the client for its
    reply, both wait for ever.
    """
    peer = server.connect()
    text = b"no newline yet: " + word()
    peer.send(text)
    peer.expect(text.upper())


@case("text/stale-bytes", role="server", group=GROUP, defects=(7, 91),
      services=("uppercase",), source="recv(2), RETURN VALUE; send(2): the "
      "length is that of the reply",
      hints=["Which length is send() given?",
             "Send as many bytes as were made, and begin each client with "
             "nothing kept from the one before."],
      by_hand="""
      echo 'a rather long line' | nc -N HOST PORT
      echo hi | nc -N HOST PORT | od -c
      must show H I \\n and nothing else""")
def test_stale_bytes(server):
    """A short reply holds nothing of another client's longer one.

    Nor of what another client left half sent: the next one's first letter
    must not complete that.
    """
    ask(server, line(700))
    server = server.again()
    peer = server.connect()
    peer.send(b"the end is cut \xc3")
    server.quiet()
    peer.reset()
    server.quiet()
    peer = ask(server.again(), word() + b"\n")
    peer.expect_end()


@case("text/long-line", role="server", group=GROUP, defects=(1, 10),
      services=("uppercase",), source=f"recv(2); send(2); {STREAM}",
      hints=["The message is far longer than any buffer of yours.",
             "The capital of a letter does not depend on the rest of the "
             "line: answer piece by piece."],
      by_hand="""
      head -c 1048575 /dev/zero | tr '\\0' x > /tmp/m; echo >> /tmp/m
      nc -N HOST PORT < /tmp/m | tr X x | cmp - /tmp/m
      must print nothing""")
def test_long_line(server):
    """A line of one mebibyte comes back whole while it is being sent.

    A fixed limit that nobody told the client cuts what is long.
    """
    text = line(1 << 20)
    peer = server.connect()
    peer.send(text)
    peer.expect(capitals(text))


@case("text/bounded-memory", role="server", group=GROUP, defects=(10, 18),
      services=("uppercase",), source="RFC 9293 3.8.6: the window tells the "
      "sender how much the receiver can take; CWE-770",
      hints=["The client sends and never reads. Where do its bytes go?",
             "Don't read on while you can't send: then the kernel tells the "
             "client to wait, and nothing has to be stored."],
      by_hand="""
      In python3:
      import socket; s = socket.create_connection(("HOST", PORT))
      s.settimeout(1)
      for n in range(400): s.send(b"x" * 65536)
      must end with a timeout before n is 400""")
def test_bounded_memory(server):
    """What a client sends without reading is not stored without a bound.

    A server that keeps a line until its newline comes gives all its memory to
    the first client whose line has none.
    """
    ask(server, word() + b"\n")     # who reads nothing stores nothing either
    server = server.again()
    peer = server.connect(receive_buffer=4096, send_buffer=1 << 16)
    peer.send_until_blocked(pattern(TOO_MUCH))
    peer.drain()                    # how it takes a reset is another matter


@case("text/back-pressure", role="server", group=GROUP, defects=(16, 17),
      services=("uppercase",), source="send(2): EAGAIN, and blocking; RFC "
      "9293 3.8.6",
      hints=["The client does not read for a while: send() blocks then or, "
             "on a socket with O_NONBLOCK, fails with EAGAIN.",
             "Wait with poll() for POLLOUT, then send the bytes that are "
             "left."],
      by_hand="""
      python3 -c 'print("x" * 9000000, end="")' |
          nc -N HOST PORT | (sleep 3; wc -c)
      must print 9000000""")
def test_back_pressure(server):
    """A client that reads late gets every byte, and waiting costs nothing.

    When the buffers of both kernels are full the server has to wait until
    the client reads, without a spin and without losing what it holds.
    """
    peer = server.connect(receive_buffer=4096, send_buffer=1 << 16)
    data = pattern(TOO_MUCH)
    taken = peer.push(data)
    peer.expect(capitals(data[:taken]))


@case("text/short-send", role="server", group=GROUP, plans=True,
      defects=(13, 14, 15), services=("uppercase",),
      source="send(2), RETURN VALUE; POSIX.1-2017, send()",
      hints=["send() may take fewer bytes than it was given.",
             "Call send() in a loop, each time from the first byte that is "
             "not sent yet."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_FAULTS='send@*=short:1' \\
          SERVER -P PORT
      and then nc HOST PORT: a line must come back whole""")
def test_short_send(launch_server):
    """When send() takes a part of the reply only, the rest follows.

    A short count is no error; it comes when the kernel's buffer is nearly
    full, or with a signal.
    """
    server = launch_server(plan="send@*=short:1")
    ask(server, line(40))


@case("memory/text-misuse", role="server", group=GROUP, defects=(5, 6, 10),
      services=("uppercase",), valgrind=True,
      source="Valgrind manual, 4.2; libunistring manual, 2.3: the length of "
             "a result and who frees it",
      hints=["Valgrind names the line. Is the reply longer than its buffer, "
             "or is a byte looked at that never came?",
             "No NUL stands behind what recv() brought, and a first byte of "
             "UTF-8 does not promise that the others are there."],
      by_hand="""
      valgrind SERVER -P PORT, and then
      python3 -c 'print("ΐ" * 1024, end="")' | nc -N HOST PORT > /dev/null
      printf 'a\\360' | nc -N HOST PORT
      must show no error of Valgrind's""")
def test_text_misuse(server):
    """No text makes the server use memory that is not its own.

    Replies that grow, characters that are cut off, and pieces as long as the
    usual buffers find the byte too many.
    """
    ask(server, word() + b"\n")     # else there is nothing to find
    server = server.again()
    for data in ("ΐ".encode() * 600, "ΐ".encode() * 2100, b"cut \xf0",
                 b"cut \xe1\xba\n", b"\xff" * 1024, pattern(1024),
                 pattern(4096), "aẻ".encode() * 300 + b"\n"):
        peer = server.connect()
        peer.send(data)
        server.quiet()
        peer.half_close()
        peer.read()
        server = server.again()


@case("document/uppercase-client", role="server", group="The document",
      services=("uppercase",), source="document 003, 7.2: TCPClient.py",
      hints=["The document's client sends a line without its newline, and "
             "keeps the connection open while it waits for the reply.",
             "Answer what recv() brings at once; do not wait for the newline "
             "or for the end of the stream."],
      by_hand="""
      echo hello | python3 conformance/peers/uppercase_client.py HOST PORT
      must print From Server:  HELLO after its prompt""")
def test_uppercase_client(server):
    """The server serves the document's own client, twice.

    It takes what one recv() brings for the whole reply, and leaves without a
    half-close.
    """
    host, port = server.address
    for text in (b"hello, " + word(), b"and again, " + word()):
        client = server.stage.assist("client", "uppercase_client.py", host,
                                     str(port))
        client.type(text + b"\n")
        client.end_input()
        server.stage.wait(client.ending, None, "the document's client does "
                          "not end", program=server.program)
        due = b"Input lowercase sentence:From Server:  " + text.upper() + b"\n"
        if client.ending().status != 0 or client.stdout != due:
            raise Failure("output", f"the document's client printed "
                          f"{client.stdout!r} instead of {due!r} and ended "
                          f"with {client.ending()}",
                          client.stderr.decode(errors="replace")[-500:])
