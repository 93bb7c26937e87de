"""A broadcast server with the classes of document 004.

Usage: broadcast_server.py [HOST [PORT]]

A thread for each client, a list of connections that the threads share, and a
sendAll() that goes over the list.  In the document nothing calls sendAll() yet
and the threads receive files; here what a client sends goes to the others, and
what is typed to all.
"""
import socket
import sys
import threading

HOST = sys.argv[1] if len(sys.argv) > 1 else ""
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 50001


class ClientThread(threading.Thread):
    def __init__(self, connections: list, connection: socket.socket) -> None:
        threading.Thread.__init__(self, daemon=True)
        self.connections = connections
        self.connection = connection

    def run(self) -> None:
        try:
            while True:
                data = self.connection.recv(1024)
                if not data:
                    break
                send_all(self.connections, data, self.connection)
        except OSError as error:
            print(error)
        self.connections.remove(self.connection)
        self.connection.close()


def send_all(connections: list, data: bytes, sender=None) -> None:
    try:
        for i in range(len(connections)):
            if connections[i] is not sender:
                connections[i].sendall(data)
    except (OSError, IndexError):
        pass


class Server(threading.Thread):
    def __init__(self, host: str, port: int) -> None:
        threading.Thread.__init__(self)
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind((host, port))
        self.listener.listen(1)
        self.connections: list = []

    def run(self) -> None:
        while True:
            connection, address = self.listener.accept()
            print("connected:", address, flush=True)
            self.connections.append(connection)
            ClientThread(self.connections, connection).start()


def main() -> None:
    server = Server(HOST, PORT)
    server.start()
    for line in sys.stdin:
        send_all(server.connections, line.encode())
    server.join()


if __name__ == "__main__":
    main()
