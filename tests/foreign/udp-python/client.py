"""The client over UDP: a new socket for each try, an alarm for a time limit.

It is not connected: it compares the sender of what comes with the server.
"""
import signal
import socket
import sys

TRIES = 4


class Late(Exception):
    """The alarm has gone off."""


def on_alarm(*_: object) -> None:
    raise Late


def usage() -> None:
    print("usage: client.py [-H HOST] [-P PORT]", file=sys.stderr)
    sys.exit(2)


def options() -> tuple[str, int]:
    words = sys.argv[1:]
    found = dict(zip(words[::2], words[1::2]))
    if len(words) % 2 or set(found) - {"-H", "-P"}:
        usage()
    port = found.get("-P", "12000")
    if not port.isascii() or not port.isdigit() or \
            not 1 <= int(port) <= 65535:
        usage()
    return found.get("-H", "127.0.0.1"), int(port)


def ask(address: tuple, line: bytes, seconds: float) -> bytes:
    """The answer; Late if none came in time."""
    family, kind, protocol, _, server = address
    with socket.socket(family, kind, protocol) as sock:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            sock.sendto(line, server)
            while True:
                answer, sender = sock.recvfrom(1 << 16)
                if sender[:2] == server[:2]:
                    return answer
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> int:
    host, port = options()
    signal.signal(signal.SIGALRM, on_alarm)
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        line = sys.stdin.buffer.readline()
        if not line:
            return 0
        for turn in range(TRIES):
            try:
                answer = ask(addresses[0], line.removesuffix(b"\n"),
                             2.0 ** turn)
                break
            except Late:
                pass
        else:
            print("client.py: recvfrom: no answer", file=sys.stderr)
            return 1
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()
    except OSError as why:
        print(f"client.py: {host}: {why.strerror or why}", file=sys.stderr)
        sys.stdout = None                   # or Python complains once more
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
