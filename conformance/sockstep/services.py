"""What a whole exchange of a client with a server is, for each service.

Cases that ask the same of every server, such as those about ports, turns and
leaks, have their conversations from here.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from .data import capitals, pattern, word
from .failure import Failure, mismatch

if TYPE_CHECKING:
    from .peer import Peer
    from .roles import Client, Server
    from .stage import Stage

GREETING = b"Thank you for connecting"
NAME_OK = b"[+] server : filename query ok"
SIZE_OK = b"[+] server : filesize query ok"
FILE_OK = b"[+] server : finished transferring file"
REFUSED = b"[-] server : "
#: The sizes that buffers have, with their neighbours in one place, and what
#: fills any buffer to its last byte.
EDGES = (1, 64, 100, 256, 512, 1000, 1023, 1024, 1025, 2048, 4096, 65_507)


class Service:
    """A request of one line, and its reply on the same connection."""

    #: What a client sends that breaks off in the middle of its request.
    partial = b"half a line"

    def request(self, size: int, seed: int = 0) -> bytes:
        """A whole request of `size` bytes, its newline included."""
        return pattern(size - 1, seed) + b"\n"

    def reply(self, request: bytes) -> bytes:
        return request

    def converse(self, server: "Server", peer: "Peer", seed: int = 0) -> None:
        """One whole exchange on a connection that is there."""
        request = self.request(40 + seed % 20, seed)
        peer.send(request)
        peer.expect(self.reply(request))

    def right_beginning(self, came: bytes, seed: int = 0) -> bool:
        """Whether `came` may be a part of what is due in an exchange."""
        return self.whole(seed).startswith(came)

    def whole(self, seed: int = 0) -> bytes:
        """All that is due in an exchange of that seed."""
        return self.reply(self.request(40 + seed % 20, seed))

    def strain(self, peer: "Peer", server: "Server", size: int) -> None:
        """Send what may be too long for a buffer; judge no answer."""
        peer.send(self.request(size, size))
        server.quiet()
        if server.target.contract.transport != "udp":
            peer.read()
            peer.half_close()
            server.quiet()

    def launch_options(self, stage: "Stage", size: int = 13) -> dict:
        """With what a client is started for `attend`."""
        return {}

    def attend(self, client: "Client", size: int = 13) -> None:
        """Be the server for one whole run of a client; judge nothing.

        `size`: of the line that is typed, or of what the server sends.
        """
        client.type(pattern(size) + b"\n")
        client.end_input()
        peer = client.accept()
        client.echo(peer)
        client.finish()

    def expect_served(self, client: "Client") -> None:
        """After `attend` and the client's end: it has done its work."""
        client.expect_replies(self.reply(pattern(13)))

    def ask(self, peer: "Peer", seed: int = 0) -> None:
        """Send all that the client of an exchange sends, wait for nothing."""
        peer.send(self.request(40 + seed % 20, seed))
        peer.half_close()

    def gather(self, server: "Server") -> None:
        """Connect those who must be there so that a request is answered."""


class Echo(Service):
    """Every byte comes back."""


class Uppercase(Service):
    """The line comes back in upper case, and the connection ends."""

    def reply(self, request: bytes) -> bytes:
        return capitals(request)

    def strain(self, peer: "Peer", server: "Server", size: int) -> None:
        """With bytes before it that are no whole character: who looks for its
        beginning may look too far back, and for its end too far on.
        """
        for piece in (b"\x80", b"\xbf\xbf", b"\xf0\x9f"):
            peer.send(piece)
            server.quiet()
        super().strain(peer, server, size)

    def attend(self, client: "Client", size: int = 13) -> None:
        client.type(pattern(size) + b"\n")
        client.end_input()
        if client.target.contract.transport == "udp":
            self._answer_all(client)
            return
        peer = client.accept()
        client.read_line(peer, pattern(size))
        peer.send(self.reply(bytes(peer.got)))
        peer.close()

    def _answer_all(self, client: "Client") -> None:
        """Answer each datagram until the client has ended."""
        server = client.listener
        while not client.program.ending():
            client.stage.wait(
                lambda: server.has_come() or client.program.ending(), None,
                "the client neither asks nor ends", program=client.program)
            while server.got:
                request, sender = server.got.pop(0)
                server.send(self.reply(request), sender)


class Greeting(Service):
    """The server speaks first, says all, and closes."""

    partial = b""

    def request(self, size: int, seed: int = 0) -> bytes:
        return b""

    def reply(self, request: bytes) -> bytes:
        return GREETING

    def converse(self, server: "Server", peer: "Peer", seed: int = 0) -> None:
        peer.expect(GREETING)

    def strain(self, peer: "Peer", server: "Server", size: int) -> None:
        """It reads nothing: some leave before it has written all."""
        peer.reset() if size % 2 else peer.half_close()
        server.quiet()

    def attend(self, client: "Client", size: int = 0) -> None:
        """`size` 0: what is sent is as long as a greeting is."""
        client.end_input()
        peer = client.accept()
        peer.send((self._told() + pattern(size))[:size] if size
                  else self._told())
        peer.close()

    def expect_served(self, client: "Client") -> None:
        client.expect_replies(self._told())

    @staticmethod
    def _told() -> bytes:
        """What the client can't know before: it is to print what comes."""
        return GREETING + b", " + word()

    def ask(self, peer: "Peer", seed: int = 0) -> None:
        """It is not asked."""


class File(Service):
    """An upload: name, size and data, each answered by a line."""

    partial = b"half a name"

    def request(self, size: int, seed: int = 0) -> bytes:
        """The content of the file."""
        return pattern(size, seed)

    def reply(self, request: bytes) -> bytes:
        return NAME_OK + SIZE_OK + FILE_OK

    def right_beginning(self, came: bytes, seed: int = 0) -> bool:
        """A refusal may come in place of any answer, and ends them."""
        answers, _refused, _why = came.partition(REFUSED)
        return self.whole(seed).startswith(answers)

    def name(self, seed: int = 0) -> bytes:
        return b"upload-%d.bin" % seed

    def announce(self, peer: "Peer", name: bytes, size: int) -> None:
        """Name and size, and their answers; the data are due then."""
        peer.send(name)
        peer.expect(NAME_OK)
        peer.send(b"%d" % size)
        peer.expect(SIZE_OK)

    def transfer(self, peer: "Peer", name: bytes, content: bytes) -> None:
        """A whole upload as the document's client makes it, but for the wait.
        """
        self.announce(peer, name, len(content))
        peer.send(content)
        peer.half_close()       # the document's client ends its data so
        peer.expect(FILE_OK)

    def converse(self, server: "Server", peer: "Peer", seed: int = 0) -> None:
        self.transfer(peer, self.name(seed),
                      self.request(40 + seed % 20, seed))

    def strain(self, peer: "Peer", server: "Server", size: int) -> None:
        """A name, a size in digits, or data of that length."""
        for text in (pattern(size).hex().encode()[:size], b"1" * size,
                     self.request(size)):
            peer.send(text)
            server.quiet()
            peer.read()
        peer.half_close()
        server.quiet()

    def launch_options(self, stage: "Stage", size: int = 3000) -> dict:
        return {"file": stage.make_file(f"sent-{size}.bin",
                                        self.request(size))}

    def attend(self, client: "Client", size: int = 3000) -> None:
        peer = client.accept()
        for answer in (NAME_OK, SIZE_OK):
            client.quiet()          # a message has no other end than rest
            peer.read()
            peer.send(answer)
        peer.until_end()            # the document's server waits for that
        peer.send(FILE_OK)
        peer.close()

    def expect_served(self, client: "Client") -> None:
        came, = client.stage.peers
        content = self.request(3000)
        if not came.got.endswith(content):
            raise Failure("wrong-bytes", "the file did not come as it is",
                          mismatch=mismatch(content,
                                            bytes(came.got[-3000:])))

    def ask(self, peer: "Peer", seed: int = 0) -> None:
        """Only the name: the rest must wait for an answer."""
        peer.send(self.name(seed))


class Broadcast(Service):
    """What one client sends goes to another."""

    def converse(self, server: "Server", peer: "Peer", seed: int = 0) -> None:
        """A line of another client comes to `peer`.

        Both are known to the server once it rests.
        """
        other = server.connect()
        server.quiet()
        peer.read()                         # what others said before
        line = self.request(40 + seed % 20, seed)
        other.send(line)
        peer.expect(line)
        other.close()
        server.quiet()

    def gather(self, server: "Server") -> None:
        server.connect()

    def whole(self, seed: int = 0) -> bytes:
        return b""                          # there is nobody else

    def attend(self, client: "Client", size: int = 13) -> None:
        client.type(pattern(size) + b"\n")
        client.end_input()
        peer = client.accept()
        peer.send(pattern(size, 1) + b"\n")
        peer.until_end()
        peer.close()

    def expect_served(self, client: "Client") -> None:
        client.expect_replies(pattern(13, 1))


SERVICES: dict[str, Service] = {
    "greeting": Greeting(), "echo": Echo(), "uppercase": Uppercase(),
    "file": File(), "broadcast": Broadcast()}
