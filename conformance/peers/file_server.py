"""The file server of document 004: a thread for each client.

Usage: file_server.py [HOST [PORT]]

The address can be chosen (port 0: the kernel chooses), and so can the folder:
it is the one in which the server is started.  All else is as in the document:
the same calls, in the same order, with the same sizes, and the same lists of
connections and threads, from which a connection without data is never taken.
"""
import socket
import sys
import threading

HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 50000

connections: list[socket.socket] = []
threads: list[threading.Thread] = []


class Receiver(threading.Thread):
    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self.connection = connection

    def run(self) -> None:
        try:
            name = self.connection.recv(1024)
            self.connection.send(b"[+] server : filename query ok")
            size = self.connection.recv(1024)
            self.connection.send(b"[+] server : filesize query ok")
            print("name", name.decode(), "size", size.decode())
            piece = self.connection.recv(1024)
            if not piece:
                print("no data came")
                return
            with open(name.decode(), "wb") as file:
                total = 0
                try:
                    while piece:
                        file.write(piece)
                        total += len(piece)
                        piece = self.connection.recv(1024)
                    self.connection.send(
                        b"[+] server : finished transferring file")
                except Exception as error:
                    print(error)
                print("stored", total, "bytes")
        except Exception as error:
            print(error)
        connections.remove(self.connection)
        threads.remove(self)


def main() -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((HOST, PORT))
    listener.listen(1)
    while True:
        connection, client = listener.accept()
        connections.append(connection)
        print("serving", client)
        receiver = Receiver(connection)
        threads.append(receiver)
        receiver.start()
        del connection, receiver            # the lists alone keep them


if __name__ == "__main__":
    main()
