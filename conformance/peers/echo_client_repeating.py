"""The client of document 001, part II, in its own calls.

Usage: echo_client_repeating.py [HOST [PORT]]

It sends line after line, each without its newline, and reads each answer
with one recv(); an empty line ends it.  The document names a host of its
author's network; here the default is this host.
"""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 8080


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.connect((HOST, PORT))
        while True:
            line = input(":")
            connection.sendall(line.encode())   # the empty one sends nothing
            if not line:
                break
            answer = connection.recv(1024)
            print(f">{answer.decode()}")


if __name__ == "__main__":
    main()
