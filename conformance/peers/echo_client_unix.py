"""The repeating client of document 001 over AF_UNIX, which document 004 names.

Usage: echo_client_unix.py [PATH]

The family and the address are all that is not the document's.  It sends line
after line, each without its newline, and takes what one recv() brings for the
whole answer; an empty line ends it.
"""
import socket
import sys

PATH = sys.argv[1] if len(sys.argv) > 1 else "echo.sock"


def main() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(PATH)
        while True:
            line = input(":")
            connection.sendall(line.encode())
            if not line:
                break
            print(f">{connection.recv(1024).decode()}")


if __name__ == "__main__":
    main()
