"""The client of document 002, in its own calls.

Usage: greeting_client.py [HOST [PORT]]

It takes what one recv() brings for the whole greeting, prints it as Python
shows bytes, and ends.
"""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 12345


def main() -> None:
    connection = socket.socket()
    connection.connect((HOST, PORT))
    print(connection.recv(1024))
    connection.close()


if __name__ == "__main__":
    main()
