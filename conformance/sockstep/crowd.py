"""Many clients at once, driven together.

A wait for one client after the other would ask the kernel about all of them
each time; here one epoll(7) tells which of them have something.
"""
from __future__ import annotations

import select
from typing import TYPE_CHECKING, Callable

from .deadline import Deadline
from .failure import Failure
from .transcript import count

if TYPE_CHECKING:
    from .peer import Peer
    from .roles import Server

#: Milliseconds without an event after which the kernel is asked whether
#: anything more can come.
_LULL_MS = 20


def fill(server: "Server", most: int) -> list["Peer"]:
    """Clients that connect until there are `most`, or until the server and
    the queue of its listening socket take no more.
    """
    peers: list["Peer"] = []
    while len(peers) < most:
        try:
            peer = server.try_connect()
            if peer is None:
                server.quiet()          # it may just be slower than we are
                peer = server.try_connect()
        except Failure:
            server.expect_within_limits()
            server.expect_alive(count(len(peers), "client") + " at once")
            raise
        if peer is None:
            break
        peers.append(peer)
    server.expect_within_limits()
    return peers


def gather(server: "Server", number: int) -> list["Peer"]:
    """So many clients at once, or a failure."""
    peers = fill(server, number)
    if len(peers) < number:
        raise Failure("refused", f"client {len(peers) + 1} of {number} finds "
                      "no room in the queue of the listening socket")
    return peers


def talk(server: "Server", requests: dict["Peer", bytes],
         after: Callable[["Peer"], None] = lambda peer: None) -> None:
    """Send each peer its request, all at the same time, and take what comes.

    Returns when each has got as many bytes as it has ever sent, or has ended,
    or when nothing more can come; what came is then for `Peer.expect`.
    `after` is called with a peer once it has got its bytes.
    """
    stage = server.stage
    unsent = {peer: memoryview(data) for peer, data in requests.items()}
    due = {peer: peer.sent + len(data) for peer, data in requests.items()}
    poll = select.epoll()
    by_number = {peer.sock.fileno(): peer for peer in requests}
    for number in by_number:
        poll.register(number, select.EPOLLIN | select.EPOLLOUT)
    deadline = Deadline(factor=stage.factor())
    while by_number and not deadline.expired():
        events = poll.poll(_LULL_MS / 1000)
        if not events and (stage.quiet_now(server.program) or
                           not server.program.alive()):
            events = poll.poll(0)       # it may have come meanwhile
            if not events:
                break                   # nothing more can come
        for number, _ in events:
            peer = by_number[number]
            over = _go_on(peer, unsent, due[peer])
            if over or not unsent[peer]:
                poll.modify(number, select.EPOLLIN)
            if over:
                del by_number[number]
                poll.unregister(number)
                after(peer)
    poll.close()


def _go_on(peer: "Peer", unsent: dict, due: int) -> bool:
    """Send and take what can be; whether this peer is done with."""
    try:
        while unsent[peer]:
            number = peer.sock.send(unsent[peer])
            peer._note_sent(bytes(unsent[peer][:number]))
            unsent[peer] = unsent[peer][number:]
    except BlockingIOError:
        pass
    except (BrokenPipeError, ConnectionResetError):
        unsent[peer] = unsent[peer][:0]
    peer._pull()
    return peer.end is not None or \
        not unsent[peer] and len(peer.got) >= due
