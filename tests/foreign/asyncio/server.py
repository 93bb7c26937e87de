"""A sound broadcast server in Python, with asyncio: no thread, no lock.

It keeps to the program contract, so it can be driven by every case.
"""
import argparse
import asyncio
import os
import signal
import socket
import stat
import sys

LINE_SIZE = 1024
QUEUE_SIZE = 65536
FINISH_SECONDS = 1.0
STOPS = {signal.SIGINT, signal.SIGTERM}


class Lines:
    """Whole lines out of the pieces that come; too long ones are broken."""

    def __init__(self) -> None:
        self.held = b""

    def add(self, piece: bytes) -> list[bytes]:
        *whole, self.held = (self.held + piece).split(b"\n")
        lines = []
        for line in whole:
            while len(line) >= LINE_SIZE:
                lines.append(line[:LINE_SIZE - 1] + b"\n")
                line = line[LINE_SIZE - 1:]
            lines.append(line + b"\n")
        while len(self.held) >= LINE_SIZE:
            lines.append(self.held[:LINE_SIZE - 1] + b"\n")
            self.held = self.held[LINE_SIZE - 1:]
        return lines


class Room:
    """All who are connected."""

    def __init__(self) -> None:
        self.clients: set["Client"] = set()

    def say(self, line: bytes, speaker: "Client | None" = None) -> None:
        for client in list(self.clients):
            if client is not speaker:
                client.hear(line)


class Client(asyncio.Protocol):
    def __init__(self, room: Room) -> None:
        self.room = room
        self.lines = Lines()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.room.clients.add(self)

    def data_received(self, data: bytes) -> None:
        for line in self.lines.add(data):
            self.room.say(line, self)

    def eof_received(self) -> bool:
        return False                    # what is queued is sent, then closed

    def connection_lost(self, error: Exception | None) -> None:
        self.room.clients.discard(self)

    def hear(self, line: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size() + len(line) > QUEUE_SIZE:
            self.transport.abort()
        else:
            self.transport.write(line)


class Operator(asyncio.Protocol):
    def __init__(self, room: Room) -> None:
        self.room = room
        self.lines = Lines()

    def data_received(self, data: bytes) -> None:
        for line in self.lines.add(data):
            self.room.say(line)

    def eof_received(self) -> None:
        if self.lines.held:
            self.room.say(self.lines.held + b"\n")


async def serve(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in STOPS:
        loop.add_signal_handler(number, stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    room = Room()
    server = await loop.create_server(lambda: Client(room), sock=listener,
                                      backlog=128)
    if stat.S_ISFIFO(os.fstat(0).st_mode) or os.isatty(0):
        await loop.connect_read_pipe(lambda: Operator(room), sys.stdin.buffer)
    await stop.wait()
    server.close()
    await asyncio.sleep(0.05)           # what has come is read meanwhile
    for client in list(room.clients):
        client.transport.close()        # once its queue is sent
    deadline = loop.time() + FINISH_SECONDS
    while room.clients and loop.time() < deadline:
        await asyncio.sleep(0.01)
    for client in list(room.clients):
        client.transport.abort()


def port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"not a port: {text}")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-H", dest="host", default="0.0.0.0")
    parser.add_argument("-P", dest="port", type=port, default=50001)
    options = parser.parse_args()
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        print(f"server.py: listen: {error.strerror}", file=sys.stderr)
        return 1
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    asyncio.run(serve(listener))
    return 0


if __name__ == "__main__":
    sys.exit(main())
