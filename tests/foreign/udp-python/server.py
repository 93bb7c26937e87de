"""The upper-case server over UDP: one blocking socket, a thread for signals.

No poll(2), no batch: recvmsg() blocks, and sigwait() does in another thread,
which ends the process between two datagrams.
"""
import os
import signal
import socket
import sys
import threading

ENDS = (signal.SIGINT, signal.SIGTERM)
IP_PKTINFO = 8
NETWORK = (ConnectionRefusedError, InterruptedError)


def usage() -> None:
    print("usage: server.py [-H HOST] [-P PORT]", file=sys.stderr)
    sys.exit(2)


def options() -> tuple[str | None, int]:
    words = sys.argv[1:]
    found = dict(zip(words[::2], words[1::2]))
    if len(words) % 2 or set(found) - {"-H", "-P"}:
        usage()
    port = found.get("-P", "12000")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        usage()
    return found.get("-H"), int(port)


def fail(what: str, why: OSError) -> None:
    print(f"server.py: {what}: {why.strerror or why}", file=sys.stderr)
    os._exit(1)


def open_socket(host: str | None, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, socket.AF_INET if host is None else socket.AF_UNSPEC,
            socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)[0]
        server = socket.socket(family, kind, protocol)
        if family == socket.AF_INET:
            server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        server.bind(address)
    except OSError as why:
        fail("bind", why)
    return server


def upper(text: bytes) -> bytes:
    return text.decode(errors="surrogateescape").upper() \
        .encode(errors="surrogateescape")


def answer(server: socket.socket, flags: int = 0) -> None:
    text, control, _, client = server.recvmsg(1 << 16, 64, flags)
    source = [(level, kind, bytes(4) + data[4:])    # no interface: any
              for level, kind, data in control if kind == IP_PKTINFO]
    try:
        server.sendmsg([upper(text)], source, 0, client)
    except OSError as why:
        print(f"server.py: sendmsg: {why.strerror}", file=sys.stderr)


def end_in_order(server: socket.socket, busy: threading.Lock) -> None:
    signal.sigwait(ENDS)
    with busy:
        try:
            while True:
                answer(server, socket.MSG_DONTWAIT)
        except BlockingIOError:
            os._exit(0)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    server = open_socket(*options())
    busy = threading.Lock()
    threading.Thread(target=end_in_order, args=(server, busy)).start()
    while True:
        try:
            server.recvmsg(0, 0, socket.MSG_PEEK)   # waits
            with busy:
                answer(server, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except NETWORK:
            pass
        except OSError as why:
            fail("recvmsg", why)


if __name__ == "__main__":
    main()
