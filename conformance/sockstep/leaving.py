"""How a program left a connection, in words.

A close that leaves bytes unread, one after all was read and one by SO_LINGER
look alike from the other end, or nearly so.  The kernel's news of the socket
that is gone tell them apart: see `sockdiag.Closings`.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from .deadline import Deadline
from .sockdiag import Row
from .transcript import count

if TYPE_CHECKING:
    from .peer import Peer

#: The news of a socket come within milliseconds of its end; so often it is
#: asked whether they still can.
NEWS_SECONDS, _LOOK_SECONDS = 1.0, 0.02
#: What is said where nothing more is known.
WHY_RESET = ("A reset comes from a close with unread bytes in the receive "
             "queue (RFC 9293 3.6.1, RFC 2525 2.17), from SO_LINGER with a "
             "time of 0, or from a process that died with both.")
WHY_UNREAD = ("close() sends a reset instead of an orderly end while bytes "
              "that came are unread, and what was sent before may be lost "
              "with it (RFC 9293 3.6.1, RFC 2525 2.17). Read until recv() "
              "returns 0, then close.")
WHY_LINGER = ("With SO_LINGER and a time of 0 close() sends a reset and "
              "throws away what is not sent yet: socket(7).")
WHY_LATE = ("What comes to a connection that is closed is answered by a "
            "reset. Read until recv() returns 0, then close.")


def how(peer: "Peer") -> tuple[str, str]:
    """A clause such as ", with 3 bytes from client 1 unread", and why that
    matters; ('', '') where nothing is known.
    """
    row = _last_row(peer)
    if row is None:
        return "", WHY_RESET if peer.end == "reset" else ""
    came = f"from {peer.whose}"
    if row.remote[1] == 0:
        return ", by SO_LINGER with a time of 0", WHY_LINGER
    end = int(row.received > peer.sent)     # a FIN counts as a byte
    unread = max(0, row.receive_queue - end)
    read = min(peer.sent, max(0, row.received - row.receive_queue))
    if peer.end == "reset":
        if unread:
            return f", with {count(unread, 'byte')} {came} unread", WHY_UNREAD
        return f", and more came {came} after that" \
            if peer.sent > read else "", WHY_LATE
    if not peer.sent:
        return "", ""
    if not read:
        return ", having read nothing", ""
    if read < peer.sent:
        return f", having read {read:,} of the {count(peer.sent, 'byte')} " \
            f"{came}", ""
    return f", having read all that came {came}", ""


def _last_row(peer: "Peer") -> Row | None:
    """The kernel's news of the program's socket, or None.

    Its FIN or reset is here before the socket is gone.  One that is open
    while the program rests will not go: only its sending was shut down.
    """
    stage = peer.stage
    deadline = Deadline(NEWS_SECONDS)
    while stage.closings:
        row = stage.closings.of(peer.far, peer.near, _LOOK_SECONDS)
        if row or deadline.expired():
            return row
        if peer.far_inode() and stage.subject and stage.subject.waits():
            return None
    return None
