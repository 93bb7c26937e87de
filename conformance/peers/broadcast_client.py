"""A client of the broadcast server, in the style of document 000.

Usage: broadcast_client.py [HOST [PORT]]

The document says itself that its client must send and receive in separate
threads to be of use; here it does.  Each line is sent with its newline; the
end of the input ends the sending, and the server's end the client.
"""
import socket
import sys
import threading

HOST = sys.argv[1] if len(sys.argv) > 1 else "localhost"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 50001


def receive(connection: socket.socket) -> None:
    while True:
        piece = connection.recv(1024)
        if not piece:
            break
        print(piece.decode(), end="", flush=True)


def main() -> None:
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.connect((HOST, PORT))
    receiver = threading.Thread(target=receive, args=(connection,))
    receiver.start()
    for line in sys.stdin:
        connection.sendall(line.encode())
    connection.shutdown(socket.SHUT_WR)
    receiver.join()
    connection.close()


if __name__ == "__main__":
    main()
