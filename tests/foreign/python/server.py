"""A sound echo server in Python: clients in turn, orderly end.

It keeps to the program contract, so it can be driven by every case.
"""
import argparse
import contextlib
import errno
import selectors
import signal
import socket
import sys
import time

FINISH_SECONDS = 1.0
QUIET_SECONDS = 0.1
PAUSE_SECONDS = 0.1
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Stopped(Exception):
    """A signal came, and nothing is left to wait for."""


class Stop:
    """Notes SIGINT and SIGTERM, and wakes whoever waits."""

    def __init__(self) -> None:
        self.listener: socket.socket | None = None
        self.deadline: float | None = None
        self.reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        if self.deadline is None:
            self.deadline = time.monotonic() + FINISH_SECONDS

    def left(self) -> float | None:
        """Seconds that are left, None before a signal came."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - time.monotonic())


def wait(sock: socket.socket, events: int, stop: Stop,
         seconds: float | None = None) -> bool:
    """Whether `sock` is ready; False: a signal came, or time ran out."""
    left = stop.left()
    if left is not None and stop.listener:
        stop.listener.close()               # nobody new from now on
    if left == 0 or sock.fileno() == -1:
        raise Stopped
    with selectors.PollSelector() as selector:  # it needs no descriptor
        selector.register(sock, events)
        if left is not None:
            seconds = min(left, left if seconds is None else seconds)
        elif sock is not stop.reader:
            selector.register(stop.reader, selectors.EVENT_READ)
        ready = selector.select(seconds)
    return any(key.fileobj is sock for key, _ in ready)


def send_all(connection: socket.socket, data: bytes, stop: Stop) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[connection.send(rest):]
        except BlockingIOError:
            wait(connection, selectors.EVENT_WRITE, stop)


def echo(connection: socket.socket, stop: Stop) -> None:
    """Send back what comes until the end of the stream or a signal."""
    busy = False
    while True:
        try:
            data = connection.recv(4096)
        except BlockingIOError:
            stopping = stop.deadline is not None
            if stopping and not busy:
                return
            busy = False
            wait(connection, selectors.EVENT_READ, stop,
                 QUIET_SECONDS if stopping else None)
            continue
        if not data:
            return
        send_all(connection, data, stop)
        busy = True


def serve(listener: socket.socket, stop: Stop) -> None:
    while stop.deadline is None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            wait(listener, selectors.EVENT_READ, stop)
            continue
        except OSError as error:
            print(f"server: accept: {error.strerror}", file=sys.stderr)
            if error.errno in OUT_OF_RESOURCES:
                wait(stop.reader, selectors.EVENT_READ, stop, PAUSE_SECONDS)
            continue
        with connection:
            connection.setblocking(False)
            try:
                echo(connection, stop)
            except OSError as error:
                print(f"server: connection: {error.strerror}",
                      file=sys.stderr)


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError(text)
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="server")
    parser.add_argument("-H", dest="host", default="0.0.0.0")
    parser.add_argument("-P", dest="port", type=port, default=9090)
    options = parser.parse_args()
    stop = Stop()
    try:
        address = socket.getaddrinfo(options.host, options.port,
                                     type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[4][:2], family=address[0])
    except OSError as error:
        print(f"server: listen at {options.host}: {error.strerror}",
              file=sys.stderr)
        return 1
    with listener:
        listener.setblocking(False)
        stop.listener = listener
        with contextlib.suppress(Stopped):
            serve(listener, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
