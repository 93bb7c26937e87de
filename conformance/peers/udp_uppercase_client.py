"""The UDP client of document 003, in its own calls.

Usage: udp_uppercase_client.py [HOST [PORT]]

It sends one line as one datagram, takes the next datagram that comes for the
answer, whoever sent it, and waits for ever if there is none.
"""
import socket
import sys

HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 12000


def main() -> None:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line = input("Input lowercase sentence:")
    client.sendto(line.encode(), (HOST, PORT))
    answer, _server = client.recvfrom(2048)
    print(answer.decode())
    client.close()


if __name__ == "__main__":
    main()
