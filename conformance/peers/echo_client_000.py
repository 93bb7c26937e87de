"""The client of document 000, in its own calls.

Usage: echo_client_000.py [HOST [PORT]]

It sends line after line, each without its newline, and reads each answer
with one recv(); an empty line or the end of the stream ends it.  Answers are
printed as Python shows bytes: b'...'.
"""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else "localhost"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 9090


def main() -> None:
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.connect((HOST, PORT))
    while True:
        line = input("> ")
        if not line:
            break
        connection.send(str.encode(line))
        answer = connection.recv(1024)
        if not answer:
            break
        print(answer)
    connection.close()


if __name__ == "__main__":
    main()
