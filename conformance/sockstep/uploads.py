"""Words for the cases about files that are sent to a server."""
from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import Failure, mismatch
from .services import FILE_OK, NAME_OK, REFUSED, SIZE_OK
from .transcript import count, shorten

if TYPE_CHECKING:
    from .peer import Peer
    from .roles import Client, Server

HEADER_OK = b"[+] server : header query ok"


def announce(server: "Server", name: bytes, size: int) -> "Peer":
    """A client whose name and size have been answered; its data are due."""
    peer = server.connect()
    server.service.announce(peer, name, size)
    return peer


def upload(server: "Server", name: bytes, content: bytes) -> "Peer":
    """A whole upload by a new client; see `services.File.transfer`."""
    peer = server.connect()
    server.service.transfer(peer, name, content)
    return peer


def attempt(server: "Server", name: bytes, size: bytes = b"",
            content: bytes = b"") -> bytes:
    """All that an upload that may be refused gets, until no more can come.

    Without `size` the talk ends after the name.
    """
    peer = server.connect()
    try:
        for message, answer in ((name, NAME_OK), (size, SIZE_OK)):
            if not message:
                break
            peer.send(message)
            server.quiet()
            if peer.ended() or not bytes(peer.got).endswith(answer):
                break
        else:
            peer.send(content)
    except Failure as failure:
        if failure.kind != "reset":
            raise
    if not peer.ended():
        peer.half_close()
    peer.drain()
    peer.close()
    server.quiet()
    return bytes(peer.got)


def expect_refused(came: bytes, answer: bytes, what: str) -> None:
    """An upload did not get the `answer` that says that all is well."""
    if answer in came:
        raise Failure("wrong-bytes", f"{what}, and the server said "
                      f"{shorten(answer)}; a refusal is due",
                      f"all that it said: {shorten(came, 200)}")


def expect_stored(server: "Server", files: dict[str, bytes]) -> None:
    """The server's folder holds these files and nothing else."""
    server.quiet()
    found = server.files()
    for name, content in files.items():
        if name not in found:
            raise Failure("output", f"there is no file {name!r} in the "
                          "server's folder", f"there is: {_told(found)}")
        if found[name] != content:
            wrong = mismatch(content, found[name])
            raise Failure(
                "wrong-bytes", f"the file {name!r} holds "
                f"{count(len(found[name]), 'byte')} and not the "
                f"{len(content):,} that are due; the first wrong one is "
                f"number {wrong.offset:,}", mismatch=wrong)
    left = [name for name in server.program.left_files() if name not in files]
    if left:
        raise Failure("leak", "left behind in the server's folder: "
                      + ", ".join(map(repr, left[:5])))


def _told(found: dict[str, bytes]) -> str:
    return ", ".join(map(repr, found)) or "nothing"


def tree(place: Path) -> dict[str, str]:
    """Every path below `place`, and the digest of what it holds."""
    return {str(path.relative_to(place)):
            hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file() else "folder"
            for path in sorted(place.rglob("*"))}


def header(name: bytes, content: bytes, digest: bytes = b"",
           version: int = 1) -> bytes:
    """The header of an upload, the name included."""
    return struct.pack(">BBHQ", 0, version, len(name), len(content)) + \
        (digest or hashlib.sha256(content).digest()) + name


def message(client: "Client", peer: "Peer") -> bytes:
    """What the client sent since the last look, once it waits."""
    client.quiet()
    return peer.read()


def take(client: "Client", peer: "Peer", size: int) -> None:
    """Be a server that takes name and size and answers both.

    The client is left before its data: `size` is what it must announce.
    """
    message(client, peer)
    peer.send(NAME_OK)
    announced = message(client, peer)
    if announced != b"%d" % size:
        raise Failure("wrong-bytes", f"the size that came is "
                      f"{shorten(announced)}; the file has {size:,} bytes",
                      mismatch=mismatch(b"%d" % size, announced))


__all__ = ["FILE_OK", "HEADER_OK", "NAME_OK", "REFUSED", "SIZE_OK",
           "announce", "attempt", "expect_refused", "expect_stored", "header",
           "message", "take", "tree", "upload"]
