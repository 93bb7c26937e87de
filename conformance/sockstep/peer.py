"""A scripted end of a TCP connection: the harness's own.

Each act is recorded.  Waiting is left to the stage, which knows when the
program can't do anything more: then a wait ends at once with what the program
is blocked in, and no clock is asked.
"""
from __future__ import annotations

import errno
import fcntl
import select
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING

from . import leaving, sockdiag
from .failure import Failure, arrived, explain, mismatch
from .transcript import count, shorten

if TYPE_CHECKING:
    from .stage import Stage

_CHUNK = 1 << 16
#: Bytes that are taken before they are looked at.
_BITE = 4 << 20
#: So often a program with a timer wakes and takes nothing before it counts as
#: one that takes no more.
_RESTS = 4


def abort(sock: socket.socket) -> None:
    """Close a socket that may be closed already; a connection is reset.

    Nothing of it stays in TIME_WAIT, of which a system keeps only so many
    at a time: tcp_max_tw_buckets in tcp(7).
    """
    if sock.fileno() != -1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))
        sock.close()


class Peer:
    """One connection.  `got` holds every byte that came so far."""

    def __init__(self, stage: "Stage", sock: socket.socket, label: str,
                 far: tuple):
        self.stage = stage
        self.sock = sock
        self.label = label
        self.got = bytearray()
        self.sent = 0                       # bytes given to the kernel
        self.end: str | None = None         # None, "end-of-stream", "reset"
        self.end_looked_for = False         # the case has asked for it
        self.half_closed = False
        self.closed = False
        self._over = False                  # closed, and seen to be gone
        self._taken = 0                     # bytes of `got` already expected
        sock.setblocking(False)
        self.far = far[:2]      # getpeername(2) fails after an early reset
        self._prepare()

    def _prepare(self) -> None:
        # What is sent is on its way at once (Nagle's algorithm would hold it
        # back), and what comes is acknowledged at once: tcp(7).
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._acknowledge()
        self.near = self.sock.getsockname()[:2]

    @property
    def whose(self) -> str:
        """How a sentence speaks of this end: "client 1", "the server"."""
        the = "the " if self.label.startswith("server") else ""
        return the + self.label

    def far_inode(self) -> int:
        """The inode of the program's socket; 0 when it is gone."""
        row = self.stage.diag.lookup(self.far, self.near)
        return row.inode if row else 0

    # -- acts ---------------------------------------------------------------
    def send(self, data: bytes) -> None:
        """Send all of `data`; what comes back meanwhile is kept."""
        view = memoryview(data)

        def pushed() -> bool:
            nonlocal view
            while view:
                try:
                    number = self.sock.send(view[:_CHUNK])
                except BlockingIOError:
                    self._pull()
                    break
                except (BrokenPipeError, ConnectionResetError):
                    self._pull()
                    raise self._gone(len(data) - len(view), len(data)) \
                        from None
                self._note_sent(bytes(view[:number]), len(view) == len(data))
                view = view[number:]
            return not view

        self.stage.wait(
            pushed, self, f"the program took {{}} of "
            f"{count(len(data), 'byte')} and then read no more",
            lambda: f"{len(data) - len(view):,}", poll=select.POLLOUT)

    def push(self, data: bytes) -> int:
        """Send without reading until the program takes no more.

        Returns the bytes that the kernel took, which are all of `data` if
        that is not larger than both ends' buffers or if the program stores
        what it can't send.
        """
        offset = 0
        rests: set[tuple] = set()           # each time that a timer ran out

        def stuffed() -> bool:
            nonlocal offset
            while offset < len(data):
                try:
                    number = self.sock.send(data[offset:offset + _CHUNK])
                except BlockingIOError:
                    if not self.stage.quiet_now(timers=True) or \
                            self._takes_more():
                        return False
                    rests.add(self.stage.turns())
                    return self.stage.quiet_now() or len(rests) > _RESTS
                except (BrokenPipeError, ConnectionResetError):
                    raise self._gone(offset, len(data)) from None
                self._note_sent(data[offset:offset + number])
                offset += number
                rests.clear()
            return True

        self.stage.wait(stuffed, self, "nobody reads the answers, and the "
                        "program does not wait for that", poll=0)
        return offset

    def send_until_blocked(self, data: bytes) -> int:
        """As `push`, but fails if the program never stops to take more.

        `data` must be larger than both ends' buffers.
        """
        offset = self.push(data)
        if offset == len(data):
            raise Failure("output", f"the program swallowed all "
                          f"{count(offset, 'byte')} though nobody read its "
                          "answers: it stores or drops them without a bound")
        return offset

    def half_close(self) -> None:
        """Send FIN; the other direction stays open.  shutdown(2)."""
        self.stage.transcript.add("harness", self.label, "half-close")
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:       # it is gone already
                raise
        self.half_closed = True

    def reset(self) -> None:
        """Send RST: SO_LINGER with a time of 0, then close.  socket(7)."""
        self.stage.transcript.add("harness", self.label, "reset")
        abort(self.sock)
        self._close()

    def close(self) -> None:
        """close(2): FIN, or RST if bytes that came were never read."""
        if not self.closed:
            self.stage.transcript.add("harness", self.label, "close")
            self._close()

    def _close(self) -> None:
        self.closed = True
        self.sock.close()

    # -- expectations -------------------------------------------------------
    def expect(self, data: bytes) -> None:
        """The next bytes are `data`, whatever pieces they come in."""
        start = self._taken
        right = 0                           # bytes compared so far
        verb = "came back" if self.stage.role == "server" else "came"

        def complete() -> bool:
            nonlocal right
            self._pull()
            fresh = self.got[start + right:start + len(data)]
            if fresh != data[right:right + len(fresh)]:
                came = bytes(self.got[start:start + len(data)])
                wrong = mismatch(data, came)
                where = f" from byte {wrong.offset:,} on" if wrong.offset \
                    else ""
                raise Failure("wrong-bytes", f"wrong bytes {verb}{where}: "
                              f"expected {shorten(data[wrong.offset:])}, got "
                              f"{shorten(came[wrong.offset:])}"
                              + explain(data, came), mismatch=wrong)
            right += len(fresh)
            if right < len(data) and self.end:
                raise self._cut(data[:right], data)
            return right == len(data)

        self.stage.wait(complete, self, "{}",
                        lambda: arrived(bytes(self.got[start:]), data, verb),
                        missing=data, start=start)
        self._taken = start + len(data)

    def expect_end(self) -> None:
        """The stream ends now, in order (FIN), with nothing before that."""
        if self.until_end():
            extra = bytes(self.got[self._taken:])
            raise Failure("wrong-bytes", "more came than was asked for: "
                          f"{shorten(extra)} ({count(len(extra), 'byte')})",
                          mismatch=mismatch(b"", extra))
        if self.end == "reset":
            raise self._reset()

    def expect_no_reset(self) -> None:
        """No reset has come, not even behind the end of the stream.

        There recv(2) does not tell it, but the next send(2) would.
        """
        self._pull()
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if self.end == "reset" or error in (errno.EPIPE, errno.ECONNRESET):
            raise self._reset()

    def _reset(self) -> Failure:
        clause, why = self.how_left()
        return Failure("reset", "the connection was reset where an orderly "
                       "end of stream was due"
                       + clause.replace(", ", ": it was closed ", 1),
                       detail=why)

    def until_end(self) -> bytes:
        """Everything up to the end of the stream, orderly or not."""
        self.end_looked_for = True
        def over() -> bool:
            self._pull()
            return self.end is not None

        self.stage.wait(over, self, "the connection was kept open")
        return bytes(self.got[self._taken:])

    def ended(self) -> bool:
        """Whether the stream has ended by now, orderly or not."""
        self.end_looked_for = True
        self._pull()
        return self.end is not None or self.closed

    def expect_silence(self) -> None:
        """Nothing comes: the program is at rest and its queue empty."""
        self.stage.quiet()
        self._pull()
        extra = bytes(self.got[self._taken:])
        if extra:
            raise Failure("wrong-bytes", "bytes came where none were due: "
                          f"{shorten(extra)}", mismatch=mismatch(b"", extra))

    def read(self) -> bytes:
        """What has come and was not expected yet, without waiting."""
        self.end_looked_for = True
        self._pull()
        fresh = bytes(self.got[self._taken:])
        self._taken = len(self.got)
        return fresh

    def drain(self) -> None:
        """Take what still comes, whatever it is, so that close sends FIN."""
        def empty() -> bool:
            self._pull()
            return self.end is not None or \
                self.stage.quiet_now(timers=True) and not self._unread()

        self.stage.wait(empty, self, "its answers have no end")
        self._taken = len(self.got)

    def taken(self) -> int:
        """How many of the bytes sent the program has read so far."""
        row = self.stage.diag.lookup(self.far, self.near)
        return row.received - row.receive_queue if row else 0

    # -- below --------------------------------------------------------------
    def _unread(self) -> int:
        """How many bytes wait in this end's receive queue.  tcp(7), SIOCINQ."""
        answer = fcntl.ioctl(self.sock, termios.FIONREAD, bytes(4))
        return int.from_bytes(answer, sys.byteorder)

    def _takes_more(self) -> bool:
        """Whether the kernel takes something to send at this moment."""
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT)
        return bool(poll.poll(0))

    def _acknowledge(self) -> None:
        """Acknowledge what came now, and for some time what comes later."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _note_sent(self, data: bytes, piece: bool = False) -> None:
        self.sent += len(data)
        self.stage.transcript.add("harness", self.label, "send", data,
                                  piece=piece)

    def _pull(self) -> None:
        """Take what has come, and see whether the stream has ended.

        Of bytes without end only a bite is taken, so that the caller can
        tell at once that they are the wrong ones.
        """
        bite = len(self.got) + _BITE
        while self.end is None and not self.closed and len(self.got) < bite:
            try:
                data = self.sock.recv(_CHUNK)
            except BlockingIOError:
                return
            except ConnectionResetError:
                self.end = "reset"
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ETIMEDOUT):
                    raise
                self.end = "reset"
            else:
                if data:
                    self.got += data
                    self._acknowledge()
                    self.stage.transcript.add("program", self.label, "send",
                                              data)
                    if len(self.got) > self.stage.flood_limit:
                        raise Failure("wrong-bytes", "the program sends "
                                      f"without end: {len(self.got):,} bytes "
                                      "and no end in sight")
                    continue
                self.end = "end-of-stream"
            self.stage.transcript.add("program", self.label, self.end)

    def _cut(self, came: bytes, data: bytes) -> Failure:
        where = f"after {arrived(came, data)}"
        program = self.stage.subject
        crash = self.stage.crash_of(program)
        if crash:
            return Failure("crash", f"{crash} {where}",
                           mismatch=mismatch(data, came))
        clause, why = self.how_left()
        if program is not None and program.ending():
            where += f"; {program.name} has ended ({program.ended()})"
        elif clause:
            where += f": {program.name} closed the connection"
        what = "the connection was reset" if self.end == "reset" else \
            "the stream ended"
        return Failure(self.end, f"{what} {where}{clause}", detail=why,
                       mismatch=mismatch(data, came))

    def _gone(self, done: int, size: int) -> Failure:
        program = self.stage.subject
        crash = self.stage.crash_of(program)
        where = f"after it took {done:,} of {count(size, 'byte')}"
        if crash:
            return Failure("crash", f"{crash} {where}")
        clause, why = self.how_left()
        return Failure("reset", f"{program.name if program else 'the program'} "
                       f"closed the connection {where}{clause}",
                       detail=why or ("" if self.end == "end-of-stream"
                                      else leaving.WHY_RESET))

    def how_left(self) -> tuple[str, str]:
        """How the program left; see `leaving`."""
        return leaving.how(self)

    def settled(self) -> bool:
        """Whether nothing is under way on this connection, either way."""
        if self._over:
            return True
        row = self.stage.diag.lookup(self.far, self.near)
        if row is None and not self.closed and \
                sockdiag.state(self.sock) == sockdiag.ESTABLISHED:
            # Its other end is just being made (for a moment the kernel has
            # it in no table), or a reset is on its way here.
            return False
        if row is None or row.state == sockdiag.TIME_WAIT:
            self._over = self.closed        # nothing can begin here again
            return True
        if row.state == sockdiag.FIN_WAIT2 and not row.inode:
            return True         # closed, and all that was sent has come here
        if row.state in (sockdiag.SYN_RECV, sockdiag.NEW_SYN_RECV):
            return False
        if self.closed:
            own = self.stage.diag.lookup(self.near, self.far)
            return row.state != sockdiag.ESTABLISHED or \
                own is not None and own.unsent > 0
        received, sent, unsent, unacked = sockdiag.tcp_info(self.sock)
        if sent > row.received or row.sent > received:
            return False
        ended = received > row.sent         # their FIN is here: it counts
        if (row.unsent or row.unacked) and not ended and not self._unread():
            # There is room, and it will go.  An acknowledgement that the
            # kernel delays, and that makes room, is sent at once by this.
            self._acknowledge()
            return False
        if unsent and not row.receive_queue or \
                unacked and not row.receive_queue and not self._takes_more():
            return False
        if self.half_closed and not unsent and row.state in (
                sockdiag.ESTABLISHED, sockdiag.FIN_WAIT1,
                sockdiag.FIN_WAIT2):
            # Our FIN is still on its way, or finds the other's window shut.
            return not unacked and sockdiag.send_window(self.sock) == 0
        return True

