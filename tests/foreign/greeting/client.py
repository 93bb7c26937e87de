"""A client of the greeting server.

Usage: client.py [-H HOST] [-P PORT]
"""
import argparse
import os
import socket
import sys


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def connect(host: str, number: int) -> socket.socket | None:
    """Every address in turn; each failure is told."""
    for family, kind, protocol, _, address in socket.getaddrinfo(
            host, number, type=socket.SOCK_STREAM):
        try:
            server = socket.socket(family, kind, protocol)
        except OSError as error:
            print(f"client.py: socket: {error.strerror}", file=sys.stderr)
            continue
        try:
            server.connect(address)
            return server
        except OSError as error:
            print(f"client.py: connect {address[0]}: "
                  f"{os.strerror(error.errno)}", file=sys.stderr)
            server.close()
    return None


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-H", dest="host", default="127.0.0.1")
    parser.add_argument("-P", dest="port", type=port, default=12345)
    options = parser.parse_args()
    try:
        server = connect(options.host, options.port)
    except socket.gaierror as error:
        print(f"client.py: resolve {options.host}: {error.strerror}",
              file=sys.stderr)
        return 1
    if server is None:
        return 1
    last = b"\n"
    try:
        with server:
            while data := server.recv(65536):
                os.write(1, data)
                last = data[-1:]
        if last != b"\n":
            os.write(1, b"\n")
    except OSError as error:
        print(f"client.py: greeting: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
