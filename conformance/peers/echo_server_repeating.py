"""The repeating echo server of document 001, part II, in its own calls.

Usage: echo_server_repeating.py [HOST [PORT]]

It serves one client, echoes until that client's stream ends, and ends too.
The address can be chosen (port 0: the kernel chooses); all else is as in the
document: the same calls, in the same order, with the same sizes.
"""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else ""
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 8080


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((HOST, PORT))
        listener.listen(1)
        connection, _client = listener.accept()
        while True:
            piece = connection.recv(1024)
            if not piece:
                break
            print(piece.decode())
            connection.sendall(piece)
        connection.close()


if __name__ == "__main__":
    main()
