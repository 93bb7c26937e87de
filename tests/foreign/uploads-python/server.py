"""A server for uploads, with a thread for each and seats for 120 of them.

Usage: server.py [-H HOST] [-P PORT]
"""
import contextlib
import errno
import getopt
import hashlib
import itertools
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

SEATS = 120
LAST_SECOND = 1.0
BIGGEST = 1 << 36
DRAFT = ".draft-"
HEADER = struct.Struct(">BBHQ32s")


class Refused(Exception):
    """The upload fails, and its client is told so."""


class Over(Exception):
    """The client has left, or the server ends."""


def passed(descriptor: int, limit: float | None = None) -> bool:
    """Whether it is readable before the time is over; None: no limit."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if limit is None else max(0, limit * 1000)))


class Upload:
    """One client's file, from its name to the last answer."""

    numbers = itertools.count()

    def __init__(self, connection: socket.socket, stop: int):
        self.connection = connection
        self.stop = stop                    # readable once the end is asked
        self.end: float | None = None       # for then

    def wait(self, idle: bool) -> None:
        """Until there is something to read; `idle`: a stop ends it at once."""
        if self.end is None:
            poll = select.poll()
            poll.register(self.connection, select.POLLIN)
            poll.register(self.stop, select.POLLIN)
            if self.stop not in dict(poll.poll()):
                return
            self.end = time.monotonic() + LAST_SECOND
        left = 0 if idle else self.end - time.monotonic()
        if not passed(self.connection.fileno(), left):
            raise Over

    def receive(self, most: int, idle: bool = False) -> bytes:
        self.wait(idle)
        return self.connection.recv(most)

    def receive_exactly(self, number: int) -> bytes:
        came = b""
        while len(came) < number:
            piece = self.receive(number - len(came))
            if not piece:
                raise Refused("the stream has ended too early")
            came += piece
        return came

    def answer(self, text: str) -> None:
        self.connection.sendall(f"[+] server : {text}".encode())

    def run(self) -> None:
        try:
            self.talk()
        except Refused as reason:
            self.refuse(str(reason))
        except OSError as error:
            self.refuse(error.strerror or str(error))
        except Over:
            return
        with contextlib.suppress(OSError):
            self.see_off()

    def refuse(self, reason: str) -> None:
        with contextlib.suppress(OSError):
            self.connection.sendall(f"[-] server : {reason}".encode())

    def see_off(self) -> None:
        """What is unread at close() would be a reset: take it for a while."""
        self.connection.shutdown(socket.SHUT_WR)
        end = time.monotonic() + LAST_SECOND
        while (left := end - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self.connection, select.POLLIN)
            poll.register(self.stop, select.POLLIN)
            if self.connection.fileno() not in dict(poll.poll(left * 1000)) \
                    or not self.connection.recv(1 << 16):
                return

    def talk(self) -> None:
        first = self.receive(1 << 12 | 1, idle=True) \
            if not self.has_header() else b""
        if first:
            name = self.checked(first)
            self.answer("filename query ok")
            size = self.number(self.receive(64))
            self.store(name, size, "filesize query ok", b"")
        elif first == b"" and self.header is None:
            raise Over
        else:
            zero, version, length, size, digest = HEADER.unpack(self.header)
            if version != 1:
                raise Refused("a header of a version that is not known")
            name = self.checked(self.receive_exactly(length))
            self.store(name, size, "header query ok", digest)

    def has_header(self) -> bool:
        """A header begins with a NUL: it is taken whole then."""
        self.header = None
        self.wait(idle=True)
        if self.connection.recv(1, socket.MSG_PEEK) != b"\0":
            return False
        self.header = self.receive_exactly(HEADER.size)
        return True

    @staticmethod
    def checked(path: bytes) -> bytes:
        """The last part of the path, if a file may have that name."""
        name = path.rpartition(b"/")[2]
        if name in (b"", b".", b"..") or len(name) > 255 or \
                len(path) > 1 << 12 or name.startswith(DRAFT.encode()) or \
                any(byte < 32 or byte == 127 for byte in path):
            raise Refused("no file can have that name here")
        return name

    @staticmethod
    def number(text: bytes) -> int:
        if not text.isdigit() or len(text) > 20:
            raise Refused("that is no number of bytes")
        return int(text)

    def store(self, name: bytes, size: int, ok: str, digest: bytes) -> None:
        if size > BIGGEST:
            raise Refused("there is no room for so much")
        draft = f"{DRAFT}{os.getpid()}-{next(self.numbers)}"
        with open(draft, "xb", buffering=0) as file:
            try:
                self.answer(ok)
                self.fill(file, size, digest)
                os.fsync(file.fileno())
                file.close()
                os.rename(draft, name)
            except BaseException:
                os.unlink(draft)
                raise
        folder = os.open(".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self.answer("finished transferring file")

    def fill(self, file, size: int, digest: bytes) -> None:
        summed = hashlib.sha256()
        while size > 0:
            piece = self.receive(min(size, 1 << 16))
            if not piece:
                raise Refused("the stream has ended too early")
            size -= len(piece)
            summed.update(piece)
            while piece:
                piece = piece[file.write(piece):]
        if digest and digest != summed.digest():
            raise Refused("the data are not those of the digest")


def serve(listener: socket.socket, stop: int) -> None:
    """Until the stop; no more threads than there are seats."""
    seats = os.eventfd(SEATS, os.EFD_SEMAPHORE | os.EFD_CLOEXEC)
    threads: list[threading.Thread] = []

    def run(connection: socket.socket) -> None:
        with connection:
            Upload(connection, stop).run()
        os.eventfd_write(seats, 1)

    def ready(descriptor: int) -> bool:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(stop, select.POLLIN)
        return stop not in dict(poll.poll())

    while ready(seats) and ready(listener.fileno()):
        try:
            connection, _peer = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS,
                               errno.ENOMEM):
                passed(stop, 0.1)
            continue
        os.eventfd_read(seats)
        connection.setblocking(True)
        thread = threading.Thread(target=run, args=(connection,))
        try:
            thread.start()
        except RuntimeError as error:
            print(f"server: thread: {error}", file=sys.stderr)
            connection.close()
            os.eventfd_write(seats, 1)
            continue
        threads = [each for each in threads if each.is_alive()] + [thread]
    listener.close()
    for thread in threads:
        thread.join()


def usage() -> int:
    print("usage: server.py [-H HOST] [-P PORT]", file=sys.stderr)
    return 2


def main() -> int:
    try:
        found, more = getopt.getopt(sys.argv[1:], "H:P:")
    except getopt.GetoptError:
        return usage()
    options = dict(found)
    port = options.get("-P", "50000")
    if more or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        return usage()
    stop, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(
            options.get("-H"), port,
            socket.AF_UNSPEC if "-H" in options else socket.AF_INET,
            socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(100)
    except OSError as error:
        print(f"server: listen: {error.strerror}", file=sys.stderr)
        return 1
    listener.setblocking(False)
    try:
        serve(listener, stop)
    except OSError as error:
        print(f"server: poll: {error.strerror}", file=sys.stderr)
        os._exit(1)                         # the threads may wait for ever
    return 0


if __name__ == "__main__":
    sys.exit(main())
