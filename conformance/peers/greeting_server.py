"""The server of document 002, in its own calls.

Usage: greeting_server.py [HOST [PORT]]

It greets each client and closes, for ever.  The address can be chosen (port
0: the kernel chooses), and the greeting is bytes, as send() of Python 3 asks
for; all else is as in the document: the same calls, in the same order, with
the same faults.
"""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else ""
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 12345


def main() -> None:
    listener = socket.socket()
    print("Socket successfully created")
    listener.bind((HOST, PORT))
    print(f"socket bound to {PORT}")
    listener.listen(5)
    print("socket is listening", flush=True)
    while True:
        connection, client = listener.accept()
        print("Got connection from", client, flush=True)
        connection.send(b"Thank you for connecting")
        connection.close()


if __name__ == "__main__":
    main()
