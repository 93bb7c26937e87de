"""The echo server of document 001, part III, with its threads started.

Usage: echo_server_threads.py [HOST [PORT]]

The document names the method that starts a thread without calling it, so
that its server serves nobody; here it is called.  The address can be chosen
(port 0: the kernel chooses); all else is as in the document: the same calls,
in the same order, with the same sizes.
"""
import socket
import sys
from threading import Thread

HOST = sys.argv[1] if len(sys.argv) > 1 else ""
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 8080


def serve(connection: socket.socket) -> None:
    while True:
        piece = connection.recv(1024)
        if not piece:
            break
        connection.sendall(piece)
    connection.close()


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((HOST, PORT))
        while True:
            listener.listen(1)
            connection, _client = listener.accept()
            Thread(target=serve, args=(connection,)).start()


if __name__ == "__main__":
    main()
