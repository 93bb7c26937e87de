"""The TCP client of document 003, 7.2, in its own calls.

Usage: uppercase_client.py [HOST [PORT]]

It sends one line without its newline, keeps the connection open, and takes
what one recv() brings for the whole reply.
"""
from socket import AF_INET, SOCK_STREAM, socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 12000


def main() -> None:
    connection = socket(AF_INET, SOCK_STREAM)
    connection.connect((HOST, PORT))
    line = input("Input lowercase sentence:")
    connection.send(line.encode())
    reply = connection.recv(1024)
    print("From Server: ", reply.decode())
    connection.close()


if __name__ == "__main__":
    main()
