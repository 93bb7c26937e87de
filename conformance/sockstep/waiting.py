"""What a blocked program waits in, and for whom, in words.

"poll() for input on the listening socket and the connection with client 1":
descriptors are told by their use, which the kernel's tables show.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from . import procfs, watched
from .peer import Peer
from .procfs import Wait

if TYPE_CHECKING:
    from .stage import Stage

#: Threads, and descriptors of one call, that are told, and that are looked at:
#: a thousand clients would take their time.
_MOST, _LOOKED_AT = 3, 64
_CONNECTION = "the connection with"
#: What is told first of many descriptors.
_FIRST = (_CONNECTION, "the listening socket", "its UDP socket")
_STANDARD = {0: "standard input", 1: "standard output", 2: "standard error"}
_KINDS = {"pipe": "a pipe", "anon_inode:[eventfd]": "an eventfd",
          "anon_inode:[timerfd]": "a timer",
          "anon_inode:[signalfd]": "a signalfd",
          "anon_inode:[eventpoll]": "an epoll set"}
_FOR = {"wait4": "a child process to end", "waitid": "a child process to end",
        "pause": "a signal", "rt_sigsuspend": "a signal",
        "rt_sigtimedwait": "a signal"}


def describe(stage: "Stage", waits: list[Wait], links: bool = False) -> str:
    """What the threads wait in, each way of it once.

    `links`: those alone that wait for a connection, if there are any.
    """
    far = {peer.far_inode(): peer for peer in stage.peers
           if isinstance(peer, Peer)} if waits else {}
    texts = list(dict.fromkeys(_told(stage, wait, far)
                               for wait in waits[:_LOOKED_AT]))
    if links:
        texts = [text for text in texts if _CONNECTION in text] or texts
    return ", and in ".join(texts[:_MOST]) + \
        (" ..." if len(texts) > _MOST else "")


def _told(stage: "Stage", wait: Wait, far: dict[int, Peer]) -> str:
    text = str(wait)
    if wait.fd is not None:
        use = _use_of(stage, far, wait.pid, wait.fd)
        return f"{text} on {use}" if use else text
    if wait.call == "futex":
        return watched.lock(wait) or text
    found = watched.descriptors(wait)
    if found is not None:
        text += _for(stage, far, wait.pid, found)
    elif wait.call in _FOR:
        text += f" for {_FOR[wait.call]}"
    limit = watched.seconds(wait)
    if limit is None:
        return text
    return f"{text} for {_time(limit)}" if text.endswith("()") else \
        f"{text}, for {_time(limit)} at the most"


def _for(stage: "Stage", far: dict[int, Peer], pid: int,
         found: list[watched.Watched]) -> str:
    """" for input on .. and for room on ..", with few of many."""
    if not found:
        return " with no descriptor to wait for"
    groups: dict[str, list[str]] = {}
    for each in found[:_LOOKED_AT]:
        what = "input or room" if each.input and each.room else \
            "input" if each.input else "room" if each.room else "a hang-up"
        use = _use_of(stage, far, pid, each.fd, each.inode)
        if use not in groups.setdefault(what, []):
            groups[what].append(use)
    parts, left = [], _MOST
    for what, uses in groups.items():
        uses.sort(key=_rank)
        if left:
            parts.append(f" for {what} on {_list(uses[:left])}")
        left = max(0, left - len(uses))
    more = sum(map(len, groups.values())) > _MOST
    return " and".join(parts) + (" ..." if more else "")


def _rank(use: str) -> int:
    return next((number for number, start in enumerate(_FIRST)
                 if use.startswith(start)), len(_FIRST))


def _list(words: list[str]) -> str:
    return ", ".join([*words[:-2], " and ".join(words[-2:])])


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _use_of(stage: "Stage", far: dict[int, Peer], pid: int, fd: int,
            inode: int = 0) -> str:
    """What the descriptor is for: "the connection with client 1".

    `far`: the ends of the program's connections with the harness.  `inode`: what it was when it came into an epoll set, where it stays until
    it is closed everywhere.
    """
    if inode and inode != procfs.inode(pid, fd):
        return _use_of_socket(stage, far, inode) or "a descriptor that it has closed"
    target = procfs.descriptors(pid).get(fd, "")
    if target.startswith("socket:["):
        return _use_of_socket(stage, far, int(target[8:-1])) or "a socket"
    kind = target if target.startswith("anon") else target.split(":")[0]
    return _STANDARD.get(fd) or _KINDS.get(kind, target)


def _use_of_socket(stage: "Stage", far: dict[int, Peer], inode: int) -> str:
    if peer := far.get(inode):
        return f"{_CONNECTION} {peer.whose}"
    if any(row.inode == inode for row in stage.diag.listeners()
           + stage.diag.unix_listeners()):
        return "the listening socket"
    if any(row.inode == inode for row in stage.diag.datagram_sockets()):
        return "its UDP socket"
    return _between_programs(stage, inode)


def _between_programs(stage: "Stage", inode: int) -> str:
    """A connection of which the harness holds neither end, or ''."""
    row = next((row for row in stage.diag.everything()
                if row.inode == inode), None)
    if row:
        other = stage.diag.lookup(row.remote, row.local)
        far = other.inode if other else 0
    else:
        own = stage.diag.unix(inode)
        far = own.peer if own else 0
    for program in stage.programs + stage.assistants:
        if far and program.alive() and far in program.socket_inodes():
            return f"{_CONNECTION} {program.name}"
    return ""
