"""The TCP server of document 003, 7.2, in its own calls.

Usage: uppercase_server.py [HOST [PORT]]

The address can be chosen (port 0: the kernel chooses); all else is as in the
document.  What one recv() brings is the whole request, and bytes that are no
UTF-8 end the program, by the exception that decode() raises.
"""
from socket import AF_INET, SOCK_STREAM, socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else ""
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 12000


def main() -> None:
    listener = socket(AF_INET, SOCK_STREAM)
    listener.bind((HOST, PORT))
    listener.listen(1)
    print("The server is ready to receive")
    while True:
        connection, _ = listener.accept()
        sentence = connection.recv(1024).decode()
        capitals = sentence.upper()
        connection.send(capitals.encode())
        connection.close()


if __name__ == "__main__":
    main()
