"""The echo server of document 000, which serves clients in turn for ever.

Usage: echo_server_in_turn.py [HOST [PORT]]

The address can be chosen (port 0: the kernel chooses); all else is as in the
document: the same calls, in the same order, with the same sizes.  It sends
with send(), whose result the document does not look at either.
"""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else ""
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 9090


def main() -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((HOST, PORT))
    listener.listen(10)
    while True:
        print("ready for the next client")
        connection, client = listener.accept()
        print("serving", client)
        while True:
            piece = connection.recv(1024)
            if not piece:
                break
            connection.send(piece)
        connection.close()


if __name__ == "__main__":
    main()
