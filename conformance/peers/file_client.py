"""The client of document 004, which sends a file.

Usage: file_client.py HOST PORT FILE

The document takes the three from the options -H, -P and -F.  All else is as
in the document: the same calls, in the same order, with the same sizes.  The
file is read twice, and the connection is closed without a look at the last
answer.
"""
import os
import socket
import sys


def ask(connection: socket.socket, text: str) -> bytes:
    connection.send(text.encode("utf-8"))
    return connection.recv(1024)


def main() -> None:
    host, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.connect((host, port))
    with open(path, "rb") as file:
        file.read()
        size = os.path.getsize(path)
    for text in (path, str(size)):
        print(ask(connection, text))
    with open(path, "rb") as file:
        try:
            data = file.read()
            while data:
                connection.send(data)
                data = file.read()
        except Exception as error:
            print(error)
    connection.close()


if __name__ == "__main__":
    main()
