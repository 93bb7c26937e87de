"""A sound echo client in Python: line by line, replies as they come."""
import argparse
import os
import select
import socket
import sys

INPUT, OUTPUT = 0, 1


class Talk:
    """One conversation: what is still to be sent, and what is owed."""

    def __init__(self, server: socket.socket):
        self.server = server
        self.unsent = b""
        self.owed = 0
        self.line_begun = False
        self.input_over = False

    def take_input(self) -> None:
        """Read some input; an empty line or its end is the last of it."""
        data = os.read(INPUT, 65536)
        if not data:
            self.input_over = True
            data = b"\n" if self.line_begun else b""
        elif data.startswith(b"\n") and not self.line_begun:
            self.input_over = True
            data = b""
        elif b"\n\n" in data:
            self.input_over = True
            data = data[:data.index(b"\n\n") + 1]
        self.unsent = data
        self.owed += len(data)
        if data:
            self.line_begun = not data.endswith(b"\n")

    def send(self) -> None:
        try:
            self.unsent = self.unsent[self.server.send(self.unsent):]
        except BlockingIOError:
            pass                            # the next round tries again

    def receive(self) -> None:
        data = self.server.recv(65536)
        if not data:
            raise EOFError("the server closed the connection"
                           + (" before the whole reply came" if self.owed
                              else ""))
        self.owed -= len(data)
        while data:
            data = data[os.write(OUTPUT, data):]

    def run(self) -> None:
        half_closed = False
        while self.owed > 0 or not half_closed:
            if self.input_over and not self.unsent and not half_closed:
                self.server.shutdown(socket.SHUT_WR)
                half_closed = True
                continue
            reading, writing = [self.server], []
            if self.unsent:
                writing.append(self.server)
            elif not self.input_over:
                reading.append(INPUT)
            readable, writable, _ = select.select(reading, writing, [])
            if self.server in readable:     # it may tell of the end: first
                self.receive()
            elif writable:
                self.send()
            elif INPUT in readable:
                self.take_input()


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or \
            not 1 <= int(text) <= 65535:
        raise ValueError(text)
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="client")
    parser.add_argument("-H", dest="host", default="127.0.0.1")
    parser.add_argument("-P", dest="port", type=port, default=9090)
    options = parser.parse_args()
    try:
        with socket.create_connection((options.host, options.port)) as server:
            server.setblocking(False)
            Talk(server).run()
    except OSError as error:
        print(f"client: {options.host} port {options.port}: "
              f"{error.strerror or error}", file=sys.stderr)
        return 1
    except EOFError as error:
        print(f"client: {options.host} port {options.port}: {error}",
              file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
