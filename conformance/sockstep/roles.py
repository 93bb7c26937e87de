"""What a case holds in its hands: a server or a client under test.

These two turn a stage into the words in which cases are written.
"""
from __future__ import annotations

import signal
from pathlib import Path

from .contract import Target
from .failure import Failure, Mismatch, mismatch
from .listener import LOOPBACK, Listener, UnixListener
from .peer import Peer
from .datagram import DatagramPeer
from .program import Program, told_by
from .services import SERVICES, Service
from .sockdiag import Row, UnixRow
from .stage import Stage
from .transcript import count, shorten


class Server:
    """A server under test that listens."""

    def __init__(self, stage: Stage, target: Target, program: Program,
                 address: tuple[str, int], path: str = ""):
        self.stage = stage
        self.target = target
        self.program = program
        self.address = address
        self.path = path                    # its name, where it is AF_UNIX
        self.service: Service = SERVICES[target.contract.service]
        self._peers: list[Peer] = []

    @classmethod
    def launch(cls, stage: Stage, target: Target, *,
               host: str | None = LOOPBACK, port: int = 0,
               path: str = "", ready: bool = True, **options) -> "Server":
        """Start the server and wait until the kernel shows it listening.

        `host` None: no -H is given.  `port` 0: the kernel chooses.  `path`:
        the name of an AF_UNIX server.  Options of `Program` pass through
        (plan, nofile, hold, typing ...).
        """
        if target.contract.transport == "unix":
            path = path or stage.unix_path()
            program = stage.start(target.argv_unix(path), **options)
            server = cls(stage, target, program, ("", 0), path)
            if ready:
                stage.wait_listening(program)
            return server
        if port == 0 and target.port_mode == "held":
            port = stage.hold_port()
        program = stage.start(target.argv(host, port), **options)
        server = cls(stage, target, program, (host or LOOPBACK, port))
        if ready:
            row = stage.wait_listening(program)
            if port and row.local[1] != port:
                raise _wrong_port(row.local[1], port)
            if not port and row.local[1] == target.contract.port and \
                    row.local[1] in _free_ports():
                # The kernel may have chosen that very port, but not twice.
                program.close()
                stage.programs.remove(program)
                program = server.program = stage.start(
                    target.argv(host, port), **options)
                row = stage.wait_listening(program)
            if not port and (row.local[1] == target.contract.port or
                             row.local[1] not in _free_ports()):
                raise Failure(
                    "startup", f"the server listens on port {row.local[1]} "
                    "although -P 0 was given, by which the kernel chooses a "
                    "free port: it ignores the option -P")
            server.address = (host or LOOPBACK, row.local[1])
            if target.contract.transport == "udp":
                stage.quiet(program)        # it may still set options
        return server

    @property
    def port(self) -> int:
        return self.address[1]

    def find(self) -> None:
        """Wait until it listens, for one that was launched with `ready`
        False, and note where.
        """
        row = self.stage.wait_listening(self.program)
        if not self.path:
            self.address = (self.address[0], row.local[1])

    def listening(self) -> list[Row] | list[UnixRow]:
        """Its listening sockets, as the kernel has them."""
        diag = self.stage.diag
        rows = diag.unix_listeners() if self.path else diag.listeners()
        inodes = self.program.socket_inodes()
        return [row for row in rows if row.inode in inodes]

    def connect(self, **options) -> Peer | DatagramPeer:
        """A new client of the harness's; see `Stage.connect`.

        For UDP a socket of its own that sends to the server.
        """
        transport = self.target.contract.transport
        if transport == "unix":
            peer = self.stage.connect_unix(self.path, **options)
        elif transport == "udp":
            peer = self.stage.open_datagrams(
                options.pop("source", LOOPBACK), self.address, **options)
        else:
            peer = self.stage.connect(self.address, **options)
        self._peers.append(peer)
        return peer

    def try_connect(self) -> Peer | None:
        """A new TCP client; None where the server's queue has no room now."""
        peer = self.stage.connect(self.address, or_none=True)
        if peer:
            self._peers.append(peer)
        return peer

    def exchange(self, seed: int = 0, peer: Peer | None = None) -> Peer:
        """One whole exchange of the service, with a new client or `peer`."""
        peer = peer or self.connect()
        self.service.converse(self, peer, seed)
        return peer

    def type(self, data: bytes) -> None:
        """What an operator types, for a server started with `typing`."""
        self.program.type(data)

    def files(self) -> dict[str, bytes]:
        """What lies in the server's working folder, by relative path."""
        place = self.program.workplace
        return {name: (place / name).read_bytes()
                for name in self.program.left_files()
                if (place / name).is_file() and
                not (place / name).is_symlink()}

    def quiet(self) -> None:
        self.stage.quiet(self.program)

    def freeze(self) -> None:
        self.program.freeze()

    def thaw(self) -> None:
        self.program.thaw()

    def wait_frozen(self) -> None:
        """Wait until a ``signal:SIGSTOP`` of the plan has stopped the server.

        Also returns where that can't happen any more: the server rests or
        has ended.  `thaw` lets it go on.
        """
        self.stage.wait(
            lambda: self.program.stopped() or not self.program.alive() or
            self.stage.quiet_now(self.program), None,
            "the server does not come to the call that is planned",
            program=self.program)
        self.program.frozen = self.program.stopped()

    def kill(self) -> None:
        """End the server by SIGKILL, which it can neither see nor handle."""
        self.program.killed = self.program.ended_by_harness = True
        self.program.signal(signal.SIGKILL)
        self.stage.wait_end(self.program)

    def expect_alive(self, what: str) -> None:
        """The server rests and goes on after `what` ("a client's reset")."""
        self.quiet()
        crash = self.stage.crash_of(self.program)
        if crash:
            raise Failure("crash", f"{crash} at {what}")
        if not self.program.alive():
            raise Failure("exit", f"{what} ended the server "
                          f"({self.program.ending()})", told_by(self.program))

    def expect_within_limits(self) -> None:
        """It has not made more tasks than a program of the runner may."""
        self.stage._no_bomb(self.program)

    def expect_orderly_end(self, number: signal.Signals = signal.SIGTERM,
                           when: str = "") -> None:
        """End the server by a signal: it ends in order, with status 0."""
        self.program.ended_by_harness = True
        self.program.signal(number)
        self.expect_ended(f"{number.name}{when and ' ' + when}")

    def expect_ended(self, what: str) -> None:
        """The server ends in order, with status 0, after `what` (a signal).
        """
        ending = self.stage.wait(
            self.program.ending, None,
            f"the server does not end after {what}", program=self.program)
        if ending.signal is not None:
            raise Failure("exit", f"exit status 0 is due after {what}; the "
                          f"server was {ending}, which it does not handle")
        if ending.status != 0:
            raise Failure("exit", f"exit status 0 is due after {what}; the "
                          f"server ended with {ending}", told_by(self.program))

    def expect_exit(self, status: int, why: str = "") -> None:
        self.stage.expect_exit(status, self.program, why)

    def done(self) -> None:
        """Close this run's connections and see that it ends as it should."""
        for peer in self._peers:
            peer.close()
        if not self.target.contract.ends_alone and self.program.alive():
            self.stage.end_in_order(self.program)
        elif self.program.alive():
            self.stage.wait_end(self.program)
        crash = self.stage.crash_of(self.program)
        if crash and self.program.ending().signal not in (
                signal.SIGTERM, signal.SIGINT):
            raise Failure("crash", crash)

    def again(self, **options) -> "Server":
        """A server ready for another first message.

        The same process where the contract has it serve clients in turn,
        otherwise a new one.
        """
        if self.target.contract.ends_alone:
            self.done()
            return Server.launch(self.stage, self.target, **options)
        for peer in self._peers:
            peer.close()
        self._peers.clear()
        self.quiet()
        return self


def _free_ports() -> range:
    """The ports that the kernel chooses from: ip(7), ip_local_port_range."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range")
                    .read_text().split())
    return range(low, high + 1)


def _wrong_port(found: int, asked: int) -> Failure:
    swapped = (asked & 0xff) << 8 | asked >> 8
    why = ": its two bytes are swapped, so htons() is missing" \
        if found == swapped else ""
    return Failure("startup", f"the server listens on port {found} instead "
                   f"of {asked}{why}")


class Client:
    """A client under test, and the harness's server that it talks to."""

    def __init__(self, stage: Stage, target: Target, program: Program,
                 listener: Listener | UnixListener | DatagramPeer | None):
        self.stage = stage
        self.target = target
        self.program = program
        self.listener = listener            # None: another's server is used

    @classmethod
    def launch(cls, stage: Stage, target: Target, *,
               listener: Listener | UnixListener | DatagramPeer | None = None,
               host: str = LOOPBACK, port: int = 0, path: str = "",
               file: Path | str = "", words: tuple[str, ...] = (),
               **options) -> "Client":
        """Start the client against `listener` (a new one by default).

        `port`, `path`: start it against a server there, which is not the
        harness's.
        `file`: what a client of the service "file" sends.  `words`: more of
        the command line.
        """
        transport = target.contract.transport
        if not (listener or port or path):
            listener = {"tcp": stage.listen, "unix": stage.listen_unix,
                        "udp": stage.listen_datagrams}[transport]()
        if transport == "unix":
            argv = target.argv_unix(path or listener.path)
        else:
            argv = target.argv(host, port or listener.port)
        program = stage.start([*target.argv_file(argv, file), *words],
                              **options)
        return cls(stage, target, program, listener)

    def accept(self) -> Peer:
        return self.listener.accept()

    def type(self, data: bytes) -> None:
        """What a person types; a line ends with its newline."""
        self.program.type(data)

    def end_input(self) -> None:
        self.program.end_input()

    def quiet(self) -> None:
        self.stage.quiet(self.program)

    def expect_exit(self, status: int, why: str = "") -> None:
        self.stage.expect_exit(status, self.program, why)

    def read_line(self, peer: Peer, line: bytes) -> bytes:
        """What the client sent of `line`, with or without its newline.

        Waits for the newline or, for clients that send none, for rest.
        """
        start = len(peer.got)
        peer.expect(line)
        if peer.got[start + len(line):] != b"\n":
            def more() -> bool:
                peer._pull()
                return len(peer.got) > start + len(line) or \
                    peer.end is not None or \
                    self.stage.quiet_now(self.program, timers=True) or \
                    not self.program.alive()
            self.stage.wait(more, peer, "the client's line is not complete",
                            program=self.program)
            peer._pull()
        rest = peer.read()
        if rest not in (b"", b"\n"):
            raise Failure("wrong-bytes", "after the line came "
                          f"{shorten(rest)} instead of its newline alone")
        return line + rest

    def echo(self, peer: Peer) -> None:
        """Be an echo server until the client's stream ends; judge nothing.

        What is to be typed and the end of input must be given before.
        """
        def more() -> bool:
            peer._pull()
            return len(peer.got) > done or peer.end is not None

        done = len(peer.got)
        while peer.end is None:
            self.stage.wait(more, peer, "the client neither sends more nor "
                            "ends its stream", program=self.program)
            fresh = bytes(peer.got[done:])
            done += len(fresh)
            try:
                peer.send(fresh)
            except Failure as failure:
                if failure.kind != "reset":
                    raise
                return                      # it left without its replies

    def reply(self, peer: Peer, *pieces: bytes) -> None:
        """Send each piece once the client has read the one before.

        A client that leaves meanwhile is sent no more.
        """
        for piece in pieces:
            if self.program.alive():
                peer.send(piece)
                self.quiet()

    def wait_frozen(self) -> None:
        """Wait until a ``signal:STOP`` of the plan has stopped the client."""
        self.stage.wait(self.program.stopped, None, "the client does not "
                        "come to the call that is planned",
                        program=self.program)
        self.program.frozen = True

    def thaw(self) -> None:
        self.program.thaw()

    def finish(self) -> None:
        """End the input, then the connections, and wait for the end.

        How the client ends its stream, and with which status, is left to
        the cases that are about that.
        """
        self.end_input()
        self.stage.wait(
            lambda: all(peer.ended() for peer in self.stage.peers) or
            not self.program.alive(), None, "all was typed and answered, and "
            "the client does not end its stream", program=self.program)
        for peer in self.stage.peers:
            peer.close()
        self.stage.wait_end(self.program)

    def expect_no_output(self) -> None:
        """Standard output is empty: there was no reply to print."""
        if output := self.program.stdout:
            raise Failure("output", "standard output is for replies, and "
                          f"there was none; it holds {shorten(output)}")

    def expect_replies(self, *replies: bytes) -> None:
        """Standard output has a line ending with each reply, in order.

        Asked at the end, since what a program writes to a file or a pipe may
        stay in its buffer until then.
        """
        output = self.program.stdout
        lines = output.split(b"\n")
        for number, reply in enumerate(replies, start=1):
            rest = lines
            while rest and not rest[0].endswith(reply):
                rest = rest[1:]
            if not rest:
                which = f"reply {number}" if len(replies) > 1 else "the reply"
                raise Failure(
                    "output", f"{which}, {shorten(reply)} "
                    f"({count(len(reply), 'byte')}), is not on a line of its "
                    f"own on standard output{_instead(reply, output)}",
                    f"standard output: {shorten(output, 400)}",
                    mismatch=_nearest(reply, lines))
            lines = rest[1:]


class Resolver:
    """A program under test that prints the addresses of a name."""

    def __init__(self, stage: Stage, target: Target, program: Program):
        self.stage = stage
        self.target = target
        self.program = program

    @classmethod
    def launch(cls, stage: Stage, target: Target, host: str,
               **options) -> "Resolver":
        """Ask for the addresses of `host`."""
        return cls(stage, target,
                   stage.start([*target.command, "-H", host], **options))

    def expect_addresses(self, *addresses: str) -> None:
        """It prints these, each once, in any order, and ends with status 0.
        """
        self.stage.expect_exit(0, self.program, "the name has an address")
        lines = self.program.stdout.decode(errors="replace").splitlines()
        if sorted(lines) == sorted(addresses):
            return
        shown = shorten(self.program.stdout, 200)
        for address in addresses:
            if address not in lines:
                raise Failure("output", f"{address} is not on a line of its "
                              f"own; standard output: {shown}")
        more = next(line for line in lines if line not in addresses
                    or lines.count(line) > addresses.count(line))
        what = "stands there more than once" if more in addresses \
            else "is none of the name's addresses"
        raise Failure("output", f"the line {shorten(more.encode())} {what}; "
                      f"standard output: {shown}")

    def expect_failure(self, *reasons: str) -> None:
        """It ends with status 1, tells one of `reasons`, prints nothing."""
        self.stage.expect_exit(1, self.program, "the name has no address")
        self.stage.expect_complaint(*reasons, program=self.program)
        if output := self.program.stdout:
            raise Failure("output", "standard output is for addresses, and "
                          f"there was none; it holds {shorten(output)}")


def _instead(reply: bytes, output: bytes) -> str:
    """What stands there in its place, as a clause; '' if that is unclear."""
    if not output:
        return ", which is empty"
    if output.endswith(reply):
        return ": no newline follows it"
    if reply in output:
        return ": it is there, and more follows it on its line"
    nearest = _nearest(reply, output.split(b"\n"))
    if nearest and nearest.offset < len(reply) and \
            len(nearest.got) + nearest.start == nearest.offset:
        return f": the line ends after {nearest.offset:,} of its bytes"
    return ""


def _nearest(reply: bytes, lines: list[bytes]) -> Mismatch | None:
    """Where the line that begins like `reply`, if there is one, differs."""
    for line in lines:
        begin = line.find(reply[:4])
        if begin >= 0:
            return mismatch(reply, line[begin:])
    return None
