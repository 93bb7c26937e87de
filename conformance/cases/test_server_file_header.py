"""Uploads whose first message is a header; lesson 07 tells its form."""
from sockstep.case import SHOULD, case
from sockstep.data import pattern
from sockstep.failure import Failure, within
from sockstep.transcript import shorten
from sockstep.uploads import (
    FILE_OK, HEADER_OK, expect_refused, expect_stored, header)

HEADER = dict(role="server", group="Files", services=("file",), level=SHOULD)
CONTENT = pattern(3000, 4)
#: A client of the kit's that sends a header, with FILE's digest.
SEND = "build/lessons/07-file-transfer/client-8-robust -D -H HOST -P PORT " \
       "-F FILE"


@case("header/at-once", **HEADER,
      source="lesson 07, the header; tcp(7): a stream has no boundaries",
      hints=["Header, name and data came by one recv(). Where does each end?",
             "Read exactly 44 bytes, then as many as the header says that the "
             "name has, and leave the rest in the kernel for the file."],
      by_hand=SEND)
def test_at_once(server):
    """A header, a name and data that come as one piece are taken apart.

    The document's own form can't do that: its client has to wait for each
    answer, because nothing tells where a name ends. A header tells.
    """
    peer = server.connect()
    peer.send(header(b"once.bin", CONTENT) + CONTENT)
    peer.expect(HEADER_OK)
    peer.expect(FILE_OK)
    expect_stored(server, {"once.bin": CONTENT})


@case("header/in-pieces", **HEADER, defects=(3, 12),
      source="lesson 07, the header; recv(2), RETURN VALUE",
      hints=["Which of your calls takes what recv() brings for a whole header?",
             "A function that reads exactly n bytes, in a loop, is needed "
             "three times: for the header, the name and the data."],
      by_hand=SEND)
def test_in_pieces(server):
    """A header that comes byte by byte is understood.

    Its lengths are known, so there is no excuse for taking one recv() for the
    whole of it.
    """
    peer = server.connect()
    for byte in header(b"pieces.bin", CONTENT):
        peer.send(bytes([byte]))
        server.quiet()
        if peer.ended():
            break                       # it is refused already
    peer.expect(HEADER_OK)
    peer.send(CONTENT)
    peer.expect(FILE_OK)
    expect_stored(server, {"pieces.bin": CONTENT})


@case("header/bad", **HEADER, defects=(10, 11, 104),
      source="lesson 07, the header; CWE-22",
      hints=["A header is input like any other: which of its numbers do you "
             "believe?",
             "The name in a header must pass the same test as one without, and "
             "the size the same limit. A version that you do not know is "
             "refused."],
      by_hand="printf '\\000\\002' | nc HOST PORT")
def test_bad(server):
    """A header that can't be obeyed gets no ok, and nothing is stored.

    Otherwise it is a second door for every name that the first one refuses.
    """
    good = header(b"good.bin", CONTENT)
    endless = good[:4] + b"\x7f" + b"\xff" * 7 + good[12:]
    for what, sent in (("the name ..", header(b"..", CONTENT)),
                       ("a name with a NUL", header(b"a\0b", CONTENT)),
                       ("a size of 8 EiB", endless),
                       ("version 9", header(b"v.bin", CONTENT, version=9)),
                       ("half a header", good[:30])):
        peer = server.connect()
        peer.send(sent)
        peer.half_close()
        peer.drain()
        came = bytes(peer.got)
        peer.close()
        with within(f"a header with {what}" if what[0] != "h" else what):
            expect_refused(came, HEADER_OK, "it was sent")
            expect_stored(server, {})
    peer = server.connect()                 # it must know good ones, though
    peer.send(good + CONTENT)
    peer.expect(HEADER_OK)


@case("header/wrong-digest", **HEADER,
      source="FIPS 180-4; RFC 9293 3.1: the checksum of TCP has 16 bits",
      hints=["Whose digest is in the header, and of which bytes do you make "
             "yours?",
             "Make it of what is in the file, before rename(); compare with "
             "memcmp(), and treat a difference like a broken connection."],
      by_hand="a header with a digest of other data; see the lesson's README")
def test_wrong_digest(server):
    """Data that do not fit the announced digest are refused.

    TCP's checksum misses some errors, and it does not see what happens in a
    machine on the way or in a disk. The sender's digest goes from end to end.
    """
    wrong = bytearray(CONTENT)
    wrong[1234] ^= 1
    peer = server.connect()
    peer.send(header(b"wrong.bin", CONTENT) + bytes(wrong))
    peer.expect(HEADER_OK)
    expect_refused(peer.until_end(), FILE_OK, "one bit of the data was wrong")
    peer.close()
    expect_stored(server, {})
    large = pattern(300_000, 5)             # no buffer holds all of it
    peer = server.connect()
    peer.send(header(b"right.bin", large) + large)
    peer.expect(HEADER_OK + FILE_OK)
    expect_stored(server, {"right.bin": large})


@case("header/cut-off", **HEADER, defects=(105,),
      source="lesson 07, the header; recv(2): 0 is the end of the stream",
      hints=["The stream ended in the middle of what the header announced.",
             "After a header the same loop receives the data, and the same "
             "failures take the half file away."],
      by_hand=SEND)
def test_cut_off(server):
    """An upload with a header that ends too early is refused as well.

    The cases about files without a header ask the rest.
    """
    for offset in (0, 1, 2999):
        with within(f"after {offset:,} of 3,000 bytes"):
            peer = server.connect()
            peer.send(header(b"cut.bin", CONTENT) + CONTENT[:offset])
            peer.expect(HEADER_OK)
            peer.half_close()
            if FILE_OK in (came := peer.until_end()):
                raise Failure("wrong-bytes", "the stream ended, and the server "
                              f"said {shorten(came)}")
            peer.close()
            expect_stored(server, {})
