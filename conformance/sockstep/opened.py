"""Which sockets a program has opened, for one that is not ready as it should.

The sockets themselves are asked, through pidfd_getfd(2): no table of the
kernel's shows one that has a port and does not listen.
"""
from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from . import procfs

if TYPE_CHECKING:
    from .program import Program

_MOST = 3


def told(program: "Program") -> str:
    """"it has a TCP socket on port 9090 and has not called listen()" .."""
    texts: dict[str, None] = {}
    sockets = 0
    for pid in program.tree():
        for fd, target in sorted(procfs.descriptors(pid).items()):
            if target.startswith("socket:["):
                sockets += 1
                texts.update(dict.fromkeys(filter(None, [_told(pid, fd)])))
    if not sockets:
        return "it has no socket"
    return "it " + " and ".join(list(texts)[:_MOST]) if texts \
        else "its sockets are of another kind"


def _told(pid: int, fd: int) -> str:
    sock = procfs.duplicate(pid, fd)
    if sock is None:
        return ""
    with sock:
        listens = bool(sock.getsockopt(socket.SOL_SOCKET,
                                       socket.SO_ACCEPTCONN))
        name = sock.getsockname()
        if sock.family == socket.AF_UNIX:
            path = name.decode() if isinstance(name, bytes) else name
            return f"listens at {path}" if listens else \
                f"has an AF_UNIX socket at {path}" if path else \
                "has an AF_UNIX socket without a name: bind() is missing"
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return ""
        port = name[1]
        if sock.type == socket.SOCK_DGRAM:
            return f"has UDP port {port}" if port else \
                "has a UDP socket without a port: bind() is missing"
        if listens:
            return f"listens on TCP port {port}"
        try:
            return f"has a connection to port {sock.getpeername()[1]}"
        except OSError:                     # it has none: the usual thing
            return f"has a TCP socket on port {port} and has not called " \
                "listen()" if port else \
                "has a TCP socket without a port: bind() is missing"
