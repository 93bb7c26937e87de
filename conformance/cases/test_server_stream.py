"""The byte stream, seen from a server: what is sent comes back whole."""
from sockstep.case import case

GROUP = "Byte stream"


@case("echo/split-message", role="server", group=GROUP, defects=(1, 3),
      source="recv(2); tcp(7); RFC 9293 3.8: TCP is a stream of bytes and "
             "keeps no boundaries of messages",
      hints=["One recv() returns what has come so far, which may be a part "
             "of the message.",
             "Call recv() in a loop until the message's end has come."],
      by_hand="""(printf 'The fi'; sleep 1; printf 'rst\\n') | nc -N HOST PORT""")
def test_split_message(server):
    """A message that comes in several pieces is echoed whole.

    The network cuts a stream where it likes: one send() of the client may
    need many recv() of the server.
    """
    peer = server.connect()
    for piece in (b"The fi", b"rst, the sec", b"ond, the last.\n"):
        peer.send(piece)
        server.quiet()
    peer.half_close()
    peer.expect(b"The first, the second, the last.\n")
    peer.expect_end()
