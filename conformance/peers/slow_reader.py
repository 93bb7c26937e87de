"""A client that does not read for some time, with small buffers.

Usage: slow_reader.py HOST PORT SECONDS

After that time it reads until the end of the stream and prints how many bytes
came.  It is no program of the documents: it is for trying things by hand.
"""
import signal
import socket
import sys
import time


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # The large segments of the loopback would get large buffers: tcp(7).
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
    connection.connect((host, port))
    time.sleep(seconds)
    came = 0
    while piece := connection.recv(65536):
        came += len(piece)
    print(came, "bytes, then the end")


if __name__ == "__main__":
    main()
