"""A greeting server with a socket for each family and a thread for each client.

Usage: server.py [-H HOST] [-P PORT]
"""
import argparse
import contextlib
import errno
import os
import selectors
import signal
import socket
import sys
import threading

GREETING = b"Thank you for connecting"


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def listen(family: int, address: tuple) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(16)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def listen_everywhere(number: int) -> list[socket.socket]:
    """One port for both families; IPv4 alone where there is no IPv6."""
    while True:
        listeners = [listen(socket.AF_INET, ("0.0.0.0", number))]
        chosen = listeners[0].getsockname()[1]
        try:
            listeners.append(listen(socket.AF_INET6, ("::", chosen)))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and number == 0:
                listeners[0].close()    # another has the port there: again
                continue
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
        return listeners


def greet(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(5)
        connection.sendall(GREETING)
        connection.setblocking(False)
        while connection.recv(4096):
            pass


def serve(listeners: list[socket.socket], stop: threading.Event,
          wake: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        for listener in (*listeners, wake):
            selector.register(listener, selectors.EVENT_READ)
        while not stop.is_set():
            for key, _events in selector.select():
                if key.fileobj is wake:
                    return
                try:
                    connection, _peer = key.fileobj.accept()
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE):
                        stop.wait(0.1)
                    continue
                thread = threading.Thread(target=greet, args=(connection,))
                thread.start()
                thread.join()


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-H", dest="host")
    parser.add_argument("-P", dest="port", type=port, default=12345)
    options = parser.parse_args()
    stop = threading.Event()
    wake, bell = socket.socketpair()
    bell.setblocking(False)
    signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        if options.host is None:
            listeners = listen_everywhere(options.port)
        else:
            family, _, _, _, address = socket.getaddrinfo(
                options.host, options.port, type=socket.SOCK_STREAM)[0]
            listeners = [listen(family, address)]
    except socket.gaierror as error:
        print(f"server.py: resolve {options.host}: {error.strerror}",
              file=sys.stderr)
        return 1
    except OSError as error:
        print(f"server.py: listen: {os.strerror(error.errno)}",
              file=sys.stderr)
        return 1
    serve(listeners, stop, wake)
    return 0


if __name__ == "__main__":
    sys.exit(main())
