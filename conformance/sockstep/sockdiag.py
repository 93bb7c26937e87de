"""The kernel's socket tables, asked by netlink: sock_diag(7).

The same facts stand in /proc/net/tcp, but reading that file walks the whole
hash table of the machine (milliseconds); a question by sock_diag takes
microseconds, and it also tells how many bytes a socket has received so far,
which is how the runner knows that nothing is under way any more.
"""
from __future__ import annotations

import collections
import errno
import functools
import os
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any, Callable

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_INET_DIAG_INFO = 2
_UNIX_DIAG_NAME, _UNIX_DIAG_PEER, _UNIX_DIAG_RQLEN = 0, 2, 4
_UNIX_SHOW = 0x1 | 0x4 | 0x10           # name, peer, lengths of the queues
_ENOENT = 2
#: Groups of the kernel's news about TCP sockets, as bits: their end, for both
#: families (linux/sock_diag.h, SKNLGRP_INET_TCP_DESTROY and its kin).
_TCP_DESTROYED = 1 << 0 | 1 << 2
#: How many of them are kept, and the bytes of those that were not taken yet.
_NEWS, _NEWS_BYTES = 10_000, 8 << 20
_SO_RCVBUFFORCE = 33

ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, \
    CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING, NEW_SYN_RECV = range(1, 13)
STATES = ("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",
          "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING",
          "NEW_SYN_RECV")


@dataclass(frozen=True)
class Row:
    """One TCP socket as the kernel sees it."""

    family: int
    state: int
    local: tuple[str, int]
    remote: tuple[str, int]
    inode: int                  # 0: not yet accepted, or owned by no process
    receive_queue: int          # LISTEN: connections that wait for accept
    send_queue: int             # LISTEN: the backlog's limit
    received: int = 0           # payload bytes so far (FIN counts as one)
    sent: int = 0               # payload bytes put on the wire, each once
    unsent: int = 0             # bytes that wait for the peer's window
    unacked: int = 0            # segments, FIN included, not acknowledged yet

    def __str__(self) -> str:
        host, port = self.local
        return f"{STATES[self.state]} {host}:{port}"


@dataclass(frozen=True)
class UnixRow:
    """One AF_UNIX socket as the kernel sees it."""

    kind: int                   # SOCK_STREAM, SOCK_DGRAM, ...
    state: int
    inode: int
    name: bytes                 # its path, or NUL and its abstract name
    peer: int                   # the inode of its other end; 0: it has none
    receive_queue: int          # bytes; LISTEN: connections that wait
    send_queue: int = 0         # bytes; LISTEN: the backlog's limit

    def __str__(self) -> str:
        name = self.name.replace(b"\0", b"@", 1)
        return f"{STATES[self.state]} {name.decode(errors='replace')}"


def parse_tcp_info(info: bytes) -> tuple[int, int, int, int]:
    """(received, sent once, not yet sent, segments not yet acknowledged) of
    a struct tcp_info.

    Offsets: linux/tcp.h; fields are only ever added at the end.
    """
    if len(info) < 216:
        raise OSError("this kernel's tcp_info is too old: Linux 4.19 or later"
                      " is needed")
    unacked, = struct.unpack_from("=I", info, 24)
    received, = struct.unpack_from("=Q", info, 128)
    unsent, = struct.unpack_from("=I", info, 144)
    sent, again = struct.unpack_from("=QQ", info, 200)
    return received, sent - again, unsent, unacked


def tcp_info(sock: socket.socket) -> tuple[int, int, int, int]:
    """The same of a socket of our own: tcp(7), TCP_INFO."""
    return parse_tcp_info(sock.getsockopt(socket.IPPROTO_TCP,
                                          socket.TCP_INFO, 256))


def send_window(sock: socket.socket) -> int | None:
    """How many bytes the other end takes beyond those that it has taken.

    None: this kernel does not tell (before Linux 5.4).
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("=I", info, 228)[0] if len(info) >= 232 else None


def state(sock: socket.socket) -> int:
    """The state of a socket of our own, such as ESTABLISHED."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def _address(family: int, raw: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntoa(raw[:4])
    return socket.inet_ntop(socket.AF_INET6, raw)


def _parse(message: bytes) -> Row:
    family, state, _timer, _again = struct.unpack_from("=BBBB", message, 0)
    local_port, remote_port = struct.unpack_from("!HH", message, 4)
    local = _address(family, message[8:24])
    remote = _address(family, message[24:40])
    _expires, rqueue, wqueue, _uid, inode = struct.unpack_from(
        "=IIIII", message, 52)
    received = sent = unsent = unacked = 0
    for kind, value in _attributes(message, 72):
        if kind == _INET_DIAG_INFO:
            received, sent, unsent, unacked = parse_tcp_info(value)
    return Row(family, state, (local, local_port), (remote, remote_port),
               inode, rqueue, wqueue, received, sent, unsent,
               unacked)


def _attributes(message: bytes, offset: int):
    """(kind, value) of each netlink attribute from `offset` on."""
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if length < 4:
            return
        yield kind, message[offset + 4:offset + length]
        offset += (length + 3) & ~3


def _parse_unix(message: bytes) -> UnixRow:
    _family, kind, state, _pad, inode = struct.unpack_from("=BBBBI", message)
    found = dict(_attributes(message, 16))
    peer, = struct.unpack_from("=I", found.get(_UNIX_DIAG_PEER, bytes(4)))
    queues = struct.unpack_from("=II", found.get(_UNIX_DIAG_RQLEN, bytes(8)))
    return UnixRow(kind, state, inode, found.get(_UNIX_DIAG_NAME, b""), peer,
                   *queues)


class SockDiag:
    """An open question line to the kernel.  Not for use by two threads."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM
                                     | socket.SOCK_CLOEXEC,
                                     _NETLINK_SOCK_DIAG)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def _ask(self, family: int, states: int, flags: int, ident: bytes,
             extension: int, protocol: int = socket.IPPROTO_TCP
             ) -> list[Row]:
        return self._question(
            struct.pack("=BBBBI", family, protocol, extension, 0, states)
            + ident, flags, _parse)

    def _question(self, request: bytes, flags: int,
                  parse: Callable[[bytes], Any]) -> list:
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(request),
                             _SOCK_DIAG_BY_FAMILY, flags, self._sequence, 0)
        self._socket.send(header + request)
        rows = []
        while True:
            answer = self._socket.recv(1 << 15)
            offset = 0
            while offset < len(answer):
                length, kind, _flags, sequence, _pid = struct.unpack_from(
                    "=IHHII", answer, offset)
                body = answer[offset + 16:offset + length]
                offset += (length + 3) & ~3
                if sequence != self._sequence:      # of an interrupted call
                    continue
                if kind == _NLMSG_DONE:
                    return rows
                if kind == _NLMSG_ERROR:
                    error = -struct.unpack_from("=i", body)[0]
                    if error == _ENOENT:
                        return []
                    raise OSError(error, "sock_diag: " + os.strerror(error))
                rows.append(parse(body))
                if not flags & _NLM_F_DUMP:
                    return rows

    def listeners(self) -> list[Row]:
        """All listening TCP sockets of this network name space."""
        rows = []
        for family in (socket.AF_INET, socket.AF_INET6):
            rows += self._ask(family, 1 << LISTEN,
                              _NLM_F_REQUEST | _NLM_F_DUMP, bytes(48), 0)
        return rows

    def datagram_sockets(self) -> list[Row]:
        """All UDP sockets of this network name space that are bound."""
        rows = []
        for family in (socket.AF_INET, socket.AF_INET6):
            rows += self._ask(family, 0xfff, _NLM_F_REQUEST | _NLM_F_DUMP,
                              bytes(48), 0, socket.IPPROTO_UDP)
        return rows

    def unix(self, inode: int) -> UnixRow | None:
        """The AF_UNIX socket with that inode; None when there is none."""
        rows = self._unix(inode, _NLM_F_REQUEST)
        return rows[0] if rows else None

    def unix_listeners(self) -> list[UnixRow]:
        """All listening AF_UNIX sockets of this network name space."""
        return [row for row in self._unix(0, _NLM_F_REQUEST | _NLM_F_DUMP)
                if row.state == LISTEN]

    def _unix(self, inode: int, flags: int) -> list[UnixRow]:
        request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xfff, inode,
                              _UNIX_SHOW, 0xffffffff, 0xffffffff)
        return self._question(request, flags, _parse_unix)

    def everything(self) -> list[Row]:
        """Every TCP socket of this network name space but those in TIME_WAIT,
        of which there may be tens of thousands after some runs.
        """
        rows = []
        for family in (socket.AF_INET, socket.AF_INET6):
            rows += self._ask(family, 0x1fff & ~(1 << TIME_WAIT), _NLM_F_REQUEST | _NLM_F_DUMP,
                              bytes(48), 0)
        return rows

    def with_local_port(self, port: int) -> list[Row]:
        """Every TCP socket, in any state, whose own port is `port`."""
        rows = []
        for family in (socket.AF_INET, socket.AF_INET6):
            rows += self._ask(family, 0xfff, _NLM_F_REQUEST | _NLM_F_DUMP,
                              struct.pack("!H", port) + bytes(46), 0)
        return [row for row in rows if row.local[1] == port]

    def lookup(self, local: tuple, remote: tuple) -> Row | None:
        """The socket with these two ends; None when there is none."""
        family, ident = _ident(local, remote)
        rows = self._ask(family, 0xfff, _NLM_F_REQUEST, ident,
                         1 << (_INET_DIAG_INFO - 1))
        # Without a match the kernel may answer with the listener.
        return rows[0] if rows and rows[0].state != LISTEN else None

    def link_settled(self, near: tuple, far: tuple) -> bool:
        """Whether nothing is on its way between two ends on this machine.

        For connections of which the harness holds neither end.
        """
        ends = self.lookup(near, far), self.lookup(far, near)
        if None in ends or any(end.state == TIME_WAIT for end in ends):
            # One without the other: it is just made, or about to be reset.
            return not any(end and end.state in (
                SYN_SENT, SYN_RECV, NEW_SYN_RECV, ESTABLISHED)
                for end in ends)
        for end, other in (ends, ends[::-1]):
            if end.state in (SYN_SENT, SYN_RECV, NEW_SYN_RECV) or \
                    end.sent > other.received:
                return False
            if end.state == FIN_WAIT1 and not end.unsent:
                return False                # its FIN is still on its way
        return True


class Closings:
    """What became of TCP sockets: the kernel's news of each that is gone.

    The last row of a socket says how much of what had come was never read,
    which no table holds any more.  The news come a moment after the end, and
    only to those who listened before it.  They are of the whole machine: who
    does not take them in time misses some.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM
                                     | socket.SOCK_CLOEXEC,
                                     _NETLINK_SOCK_DIAG)
        for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, _NEWS_BYTES)
                break
            except PermissionError:         # the other has a limit: socket(7)
                pass
        self._socket.setblocking(False)
        self._socket.bind((0, _TCP_DESTROYED))
        self._rows: collections.deque[Row] = collections.deque(maxlen=_NEWS)

    def close(self) -> None:
        self._socket.close()

    def take(self) -> None:
        """Take what has come."""
        while True:
            try:
                self._rows.append(_parse(self._socket.recv(1 << 15)[16:]))
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:    # some were missed
                    raise

    def of(self, local: tuple, remote: tuple, seconds: float) -> Row | None:
        """The last row of the socket with these ends, waited for so long.

        One that was closed by SO_LINGER with a time of 0 has lost the port of
        its other end: it is 0.  None: no news, as of a socket that is there.
        """
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while True:
            self.take()
            for row in self._rows:
                if _plain(row.local) == local and \
                        _plain(row.remote) in (remote, (remote[0], 0)):
                    return row
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                return None


def _plain(address: tuple[str, int]) -> tuple[str, int]:
    """An address without the dress that IPv6 sockets give those of IPv4."""
    return address[0].removeprefix("::ffff:"), address[1]


@functools.lru_cache(maxsize=256)
def _ident(local: tuple, remote: tuple) -> tuple[int, bytes]:
    """The family to ask, and a struct inet_diag_sockid.

    A question about IPv4 addresses also finds the sockets of both families
    that such a connection was made to.
    """
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    ends = [socket.inet_pton(family, end[0]).ljust(16, b"\0")
            for end in (local, remote)]
    return family, struct.pack("!HH", local[1], remote[1]) + ends[0] + \
        ends[1] + struct.pack("=III", 0, 0xffffffff, 0xffffffff)
