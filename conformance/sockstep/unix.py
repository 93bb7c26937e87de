"""A scripted end of an AF_UNIX connection: unix(7).

What is sent there is in the other end's receive queue when the call returns:
nothing is ever under way.
"""
from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from . import leaving
from .peer import Peer
from .sockdiag import UnixRow

if TYPE_CHECKING:
    from .stage import Stage


def address(path: str) -> str:
    """The name for the kernel: ``@name`` is an abstract one."""
    return "\0" + path[1:] if path.startswith("@") else path


class UnixPeer(Peer):
    """`Peer` over AF_UNIX."""

    def __init__(self, stage: "Stage", sock: socket.socket, label: str):
        self._inode = os.fstat(sock.fileno()).st_ino
        super().__init__(stage, sock, label, ("", 0))

    def _prepare(self) -> None:
        self.near = ("", 0)

    def _acknowledge(self) -> None:
        pass

    def reset(self) -> None:
        """Break off.  AF_UNIX knows no reset of one's own will.

        After a close the other end's send() fails with EPIPE, and, if bytes
        that came were not read (`got` is what was), its recv() with
        ECONNRESET.
        """
        self.close()

    def far_row(self) -> UnixRow | None:
        """The other end, as the kernel has it; None when it is gone."""
        own = self.stage.diag.unix(self._inode)
        return self.stage.diag.unix(own.peer) if own and own.peer else None

    def far_inode(self) -> int:
        row = self.far_row()
        return row.inode if row else 0

    def taken(self) -> int:
        row = self.far_row()
        return self.sent - row.receive_queue if row else 0

    def settled(self) -> bool:
        return True

    def how_left(self) -> tuple[str, str]:
        # A close resets the other end only where bytes were unread.
        return (f", with bytes from {self.whose} unread", leaving.WHY_UNREAD) \
            if self.end == "reset" else ("", "")
