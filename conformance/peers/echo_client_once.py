"""The client of document 001, part I, in its own calls.

Usage: echo_client_once.py [HOST [PORT]]

It reads one line from standard input, sends it without its newline, reads
the answer with one recv() and ends.  It never half-closes the connection, so
a server that waits for a newline or for the end of the stream before it
answers makes both wait for ever.
"""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 8080


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.connect((HOST, PORT))
        line = input(":")
        connection.sendall(line.encode())
        answer = connection.recv(1024)
        print(f">{answer.decode()}")
        connection.close()


if __name__ == "__main__":
    main()
