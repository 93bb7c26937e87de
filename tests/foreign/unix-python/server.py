"""An echo server over AF_UNIX and TCP: all clients at once, in one loop."""
import argparse
import contextlib
import errno
import fcntl
import os
import selectors
import signal
import socket
import stat
import struct
import sys
import time

PROGRAM = os.path.basename(sys.argv[0])
FINISH_SECONDS = 0.9
PAUSE_SECONDS = 0.05
CROWDED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Trouble(Exception):
    """What failed, and why; it ends the program."""


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("-U", dest="path")
    parser.add_argument("-H", dest="host")
    parser.add_argument("-P", dest="port", type=int)
    found = parser.parse_args()
    if found.path in ("", "@"):
        parser.error("an empty path")
    if found.host is None and found.port is None and found.path is None:
        found.path = "echo.sock"
    return found


def name_of(path):
    return b"\0" + os.fsencode(path[1:]) if path[0] == "@" \
        else os.fsencode(path)


def stale(path):
    """Whether a socket lies there at which nobody listens."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(os.fsencode(path)) == errno.ECONNREFUSED


def listen_at_file(listener, path):
    """Bind and listen while no other server looks at the folder."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if stale(path):
            os.unlink(path)
        listener.bind(name_of(path))
        made = os.lstat(path)
        try:
            os.chmod(path, 0o600)
            listener.listen(16)
        except OSError:
            os.unlink(path)
            raise
        return made
    finally:
        os.close(folder)


class Server:
    def __init__(self, found):
        self.selector = selectors.DefaultSelector()
        self.listeners = []
        self.waiting = {}               # bytes that a connection has to get
        self.made = self.path = self.end = None
        if found.path is not None:
            self.open_unix(found.path)
        if found.host is not None or found.port is not None:
            self.open_tcp(found.host or "0.0.0.0",
                          9090 if found.port is None else found.port)

    def open_unix(self, path):
        try:
            listener = socket.socket(socket.AF_UNIX)
            if path[0] == "@":
                listener.bind(name_of(path))
                listener.listen(16)
            else:
                self.made = listen_at_file(listener, path)
                self.path = path
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else \
                os.strerror(errno.ENAMETOOLONG)
            raise Trouble(f"listen at {path}: {why}") from None
        self.add(listener)

    def open_tcp(self, host, port):
        try:
            self.add(socket.create_server((host, port), backlog=16))
        except OSError as error:
            raise Trouble(f"listen at {host}: {os.strerror(error.errno)}") \
                from None

    def add(self, listener):
        listener.setblocking(False)
        self.listeners.append(listener)
        self.selector.register(listener, selectors.EVENT_READ, self.accept)

    def close_listeners(self):
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                now = os.lstat(self.path)
                if (now.st_dev, now.st_ino) == (self.made.st_dev,
                                                self.made.st_ino):
                    os.unlink(self.path)
        for listener in self.listeners:
            with contextlib.suppress(KeyError):
                self.selector.unregister(listener)
            listener.close()
        self.listeners.clear()

    def accept(self, listener, _events):
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if error.errno in CROWDED:
                time.sleep(PAUSE_SECONDS)
            return
        connection.setblocking(False)
        self.tell(connection)
        self.waiting[connection] = b""
        self.selector.register(connection, selectors.EVENT_READ, self.serve)

    def tell(self, connection):
        if connection.family != socket.AF_UNIX:
            return
        pid, uid, gid = struct.unpack("3i", connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        with contextlib.suppress(OSError):
            os.set_blocking(1, False)
            os.write(1, f"client: pid {pid}, uid {uid}, gid {gid}\n".encode())

    def drop(self, connection):
        self.selector.unregister(connection)
        del self.waiting[connection]
        connection.close()

    def serve(self, connection, _events):
        """Send what waits; without that, read more."""
        try:
            left = self.waiting[connection]
            if not left:
                left = connection.recv(4096)
                if not left:
                    self.drop(connection)
                    return
            left = left[self.send(connection, left):]
        except BlockingIOError:
            return
        except OSError:
            self.drop(connection)
            return
        self.waiting[connection] = left
        self.selector.modify(connection, selectors.EVENT_WRITE if left
                             else selectors.EVENT_READ, self.serve)

    @staticmethod
    def send(connection, data):
        try:
            return connection.send(data)
        except BlockingIOError:
            return 0

    def idle(self):
        return [connection for connection, left in self.waiting.items()
                if not left]

    def run(self, wakeup):
        self.selector.register(wakeup, selectors.EVENT_READ, None)
        while self.end is None or self.waiting and \
                time.monotonic() < self.end:
            for key, events in self.selector.select(
                    None if self.end is None
                    else max(0, self.end - time.monotonic())):
                if key.data is None:
                    self.selector.unregister(wakeup)
                    self.end = time.monotonic() + FINISH_SECONDS
                    self.close_listeners()
                elif key.fileobj.fileno() != -1:
                    key.data(key.fileobj, events)
            if self.end is not None:
                for connection in self.idle():
                    self.serve(connection, 0)       # what has come already
                for connection in self.idle():
                    self.drop(connection)
        for connection in list(self.waiting):
            self.drop(connection)


def main():
    near, far = socket.socketpair()
    far.setblocking(False)
    signal.set_wakeup_fd(far.fileno())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        Server(options()).run(near)
    except Trouble as trouble:
        print(f"{PROGRAM}: {trouble}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{PROGRAM}: run: {os.strerror(error.errno)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
