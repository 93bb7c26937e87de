"""The UDP server of document 003, in its own calls.

Usage: udp_uppercase_server.py [HOST [PORT]]

The address can be chosen (port 0: the kernel chooses); all else is as in the
document: one socket, at most 2,048 bytes of each datagram, and upper case by
way of text, so that bytes that are no UTF-8 end it.
"""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else ""
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 12000


def main() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((HOST, PORT))
    print("The server is ready to receive")
    while True:
        request, client = server.recvfrom(2048)
        capitals = request.decode().upper()
        server.sendto(capitals.encode(), client)


if __name__ == "__main__":
    main()
