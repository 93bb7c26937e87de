"""A client for uploads: it sends while it listens for a refusal.

Usage: client.py [-D] [-H HOST] [-P PORT] -F FILE
"""
import getopt
import hashlib
import os
import select
import socket
import stat
import struct
import sys

PIECE = 1 << 16
PATIENCE_MS = 300


class Failure(Exception):
    """What failed, and why."""

    def __init__(self, what: str, why: str):
        super().__init__(f"{what}: {why}")


class Talk:
    def __init__(self, server: socket.socket):
        self.server = server
        self.came = b""
        server.setblocking(False)

    def wait(self, events: int, limit_ms: int | None = None) -> int:
        poll = select.poll()
        poll.register(self.server, events)
        return sum(event for _descriptor, event in poll.poll(limit_ms))

    def hear(self) -> bool:
        """Take what there is; False at the end of the stream."""
        try:
            piece = self.server.recv(PIECE)
        except BlockingIOError:
            return True
        except OSError as error:
            raise Failure("recv", error.strerror) from error
        self.came += piece
        return bool(piece)

    def answered(self, due: bytes) -> None:
        """Wait for that answer, and print it."""
        while not self.came.startswith(due):
            if not due.startswith(self.came):
                self.refused()
            self.wait(select.POLLIN)
            if not self.hear():
                raise Failure("recv", "the server has ended the connection")
        self.came = self.came[len(due):]
        print(due.decode(), flush=True)

    def refused(self) -> None:
        """Another answer than was due: with the rest of it, it is the end."""
        while len(self.came) < 500 and \
                self.wait(select.POLLIN, PATIENCE_MS) and self.hear():
            pass
        text = self.came[:500].decode(errors="replace")
        raise Failure("refused", "".join(
            each if each.isprintable() else "." for each in text))

    def send(self, data: bytes) -> None:
        while data:
            if self.wait(select.POLLIN | select.POLLOUT) & ~select.POLLOUT:
                if not self.hear():
                    raise Failure("recv", "the server has ended the "
                                  "connection")
                self.refused()
            try:
                data = data[self.server.send(data):]
            except (BlockingIOError, BrokenPipeError):
                pass                        # recv() tells more of the latter
            except OSError as error:
                raise Failure("send", error.strerror) from error

    def send_file(self, file, size: int) -> None:
        shown = sys.stdout.isatty()
        left = size
        while left > 0:
            piece = file.read(min(left, PIECE))
            if not piece:
                raise Failure("read", "the file has become shorter")
            self.send(piece)
            left -= len(piece)
            if shown:
                print(f"\r{100 * (size - left) // size:3} %", end="",
                      flush=True)
        if shown:
            print("\r100 %")
        self.server.shutdown(socket.SHUT_WR)


def header_of(file, name: bytes, size: int) -> bytes:
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    file.seek(0)
    return struct.pack(">BBHQ", 0, 1, len(name), size) + digest.digest() + name


def upload(server: socket.socket, file, size: int, name: bytes,
           with_header: bool) -> None:
    talk = Talk(server)
    if with_header:
        talk.send(header_of(file, name, size))
        talk.answered(b"[+] server : header query ok")
    else:
        talk.send(name)
        talk.answered(b"[+] server : filename query ok")
        talk.send(b"%d" % size)
        talk.answered(b"[+] server : filesize query ok")
    talk.send_file(file, size)
    talk.answered(b"[+] server : finished transferring file")


def open_file(path: str):
    try:
        file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb",
                    buffering=0)
    except IsADirectoryError as error:
        raise Failure(path, error.strerror) from error
    except OSError as error:
        raise Failure(path, error.strerror) from error
    facts = os.fstat(file.fileno())
    if not stat.S_ISREG(facts.st_mode):
        raise Failure(path, "it is no regular file")
    return file, facts.st_size


def usage() -> int:
    print("usage: client.py [-D] [-H HOST] [-P PORT] -F FILE",
          file=sys.stderr)
    return 2


def main() -> int:
    try:
        found, more = getopt.getopt(sys.argv[1:], "DH:P:F:")
    except getopt.GetoptError:
        return usage()
    options = dict(found)
    port = options.get("-P", "50000")
    if more or "-F" not in options or \
            not (port.isascii() and port.isdigit()) or \
            not 1 <= int(port) <= 65535:
        return usage()
    try:
        file, size = open_file(options["-F"])
        try:
            server = socket.create_connection(
                (options.get("-H", "127.0.0.1"), int(port)))
        except OSError as error:
            raise Failure("connect", error.strerror) from error
        with file, server:
            upload(server, file, size,
                   os.fsencode(options["-F"]).rpartition(b"/")[2],
                   "-D" in options)
            sys.stdout.flush()
    except Failure as failure:
        print(f"client: {failure}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"client: standard output: {error.strerror}", file=sys.stderr)
        sys.stdout = None                   # nothing more is tried with it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
