"""A sound echo server in Python: one thread, selectors, many clients."""
import argparse
import errno
import selectors
import signal
import socket
import sys
import time

FINISH_SECONDS = 1.0
QUIET_SECONDS = 0.1
PAUSE_SECONDS = 0.1
PIECE = 4096
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Server:
    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.clients: dict[socket.socket, bytes] = {}   # what is held of each
        self.deadline: float | None = None
        self.moved = 0.0
        self.resume: float | None = None        # when to accept again
        self.wake, self._writer = socket.socketpair()
        for sock in (listener, self.wake, self._writer):
            sock.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        self.selector.register(listener, READ)
        self.selector.register(self.wake, READ)

    def run(self) -> None:
        while not self.over():
            for key, _ in self.selector.select(self.limit()):
                if key.fileobj is self.wake:
                    self.stop()
                elif key.fileobj is self.listener:
                    self.take()
                elif key.fileobj in self.clients:
                    self.go_on(key.fileobj)
            if self.resume is not None and time.monotonic() >= self.resume:
                self.resume = None
                if self.deadline is None:
                    self.selector.register(self.listener, READ)

    def over(self) -> bool:
        if self.deadline is None:
            return False
        now = time.monotonic()
        return not self.clients or now >= self.deadline or \
            now >= self.moved + QUIET_SECONDS and \
            not any(self.clients.values())

    def limit(self) -> float | None:
        if self.deadline is None:
            return self.resume and max(0.0, self.resume - time.monotonic())
        now = time.monotonic()
        quiet = self.moved + QUIET_SECONDS - now
        left = self.deadline - now
        return max(0.0, min(left, quiet) if quiet > 0 else left)

    def stop(self) -> None:
        self.wake.recv(100)
        if self.deadline is not None:
            return
        self.deadline = time.monotonic() + FINISH_SECONDS
        self.moved = 0.0
        if self.resume is None:
            self.selector.unregister(self.listener)
        self.listener.close()
        with selectors.DefaultSelector() as look:   # what came before counts
            for sock in self.clients:
                look.register(sock, READ)
            if self.clients and look.select(0):
                self.moved = time.monotonic()

    def take(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR,
                                   errno.ECONNABORTED):
                print(f"server: accept: {error.strerror}", file=sys.stderr)
                self.selector.unregister(self.listener)
                self.resume = time.monotonic() + PAUSE_SECONDS
            return
        sock.setblocking(False)
        self.clients[sock] = b""
        self.selector.register(sock, READ)

    def go_on(self, sock: socket.socket) -> None:
        held = self.clients[sock]
        try:
            if not held:
                held = sock.recv(PIECE)
                if not held:
                    self.drop(sock)
                    return
            held = held[sock.send(held):]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            print(f"server: connection: {error.strerror}", file=sys.stderr)
            self.drop(sock)
            return
        self.moved = time.monotonic()
        if bool(held) != bool(self.clients[sock]):
            self.selector.modify(sock, WRITE if held else READ)
        self.clients[sock] = held

    def drop(self, sock: socket.socket) -> None:
        self.selector.unregister(sock)
        del self.clients[sock]
        sock.close()


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError(text)
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="server")
    parser.add_argument("-H", dest="host", default="0.0.0.0")
    parser.add_argument("-P", dest="port", type=port, default=8080)
    options = parser.parse_args()
    try:
        address = socket.getaddrinfo(options.host, options.port,
                                     type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[4][:2], family=address[0],
                                        backlog=socket.SOMAXCONN)
    except OSError as error:
        print(f"server: listen at {options.host}: {error.strerror}",
              file=sys.stderr)
        return 1
    with listener:
        Server(listener).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
