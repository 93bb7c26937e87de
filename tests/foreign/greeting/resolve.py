"""Prints the addresses of a host.

Usage: resolve.py [-H HOST]
"""
import argparse
import os
import socket
import sys


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-H", dest="host", default="localhost")
    options = parser.parse_args()
    try:
        found = [socket.getnameinfo(address, socket.NI_NUMERICHOST)[0]
                 for *_, address in socket.getaddrinfo(
                     options.host, 0, type=socket.SOCK_STREAM)]
    except socket.gaierror as error:
        print(f"resolve.py: resolve {options.host}: {error.strerror}",
              file=sys.stderr)
        return 1
    try:
        os.write(1, "".join(f"{each}\n" for each in found).encode())
    except OSError as error:
        print(f"resolve.py: standard output: {error.strerror}",
              file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
