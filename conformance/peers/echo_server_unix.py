"""The echo server of document 000 over AF_UNIX, which document 004 names.

Usage: echo_server_unix.py [PATH]

The family and the address are all that is not the document's: the calls, their
order and their sizes are.  A path that exists is an error, as it is to bind(2),
and the socket file stays there at the end.
"""
import socket
import sys

PATH = sys.argv[1] if len(sys.argv) > 1 else "echo.sock"


def main() -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(PATH)
    listener.listen(10)
    while True:
        print("ready for the next client")
        connection, client = listener.accept()
        print("serving", repr(client))          # '': a client has no name
        while True:
            piece = connection.recv(1024)
            if not piece:
                break
            connection.send(piece)
        connection.close()


if __name__ == "__main__":
    main()
