"""A sound upper-case server in Python: many clients at once, by asyncio.

It keeps to the program contract, so it can be driven by every case.
"""
import argparse
import asyncio
import codecs
import signal
import socket
import sys

FINISH_SECONDS = 1.0
LINGER_SECONDS = 0.2
PIECE = 4096
STOPS = (signal.SIGINT, signal.SIGTERM)


def capitals(text: str) -> bytes:
    """Bytes that are no UTF-8 are halves of surrogate pairs in `text`."""
    return text.upper().encode(errors="surrogateescape")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                 stop: asyncio.Event) -> None:
    """One message, up to its newline or to the end of the stream."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    ended = begun = False
    stopping = asyncio.ensure_future(stop.wait())
    while not ended:
        reading = asyncio.ensure_future(reader.read(PIECE))
        waiting = {reading} if begun else {reading, stopping}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            break                           # nothing is under way
        piece, newline, _ = reading.result().partition(b"\n")
        begun = True
        ended = bool(newline) or not piece
        writer.write(capitals(decoder.decode(piece + newline, ended)))
        await writer.drain()
    stopping.cancel()
    if ended and writer.can_write_eof():
        writer.write_eof()
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not stop.is_set() and await reader.read(PIECE):
                    pass
        except TimeoutError:
            pass


class Server:
    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.tasks: set[asyncio.Task] = set()

    async def client(self, reader: asyncio.StreamReader,
                     writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        try:
            await answer(reader, writer, self.stop)
        except OSError as error:
            print(f"server: connection: {error.strerror}", file=sys.stderr)
        except asyncio.CancelledError:
            writer.transport.abort()        # the last second is over
        finally:
            writer.close()
            self.tasks.discard(asyncio.current_task())

    async def run(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for number in STOPS:
            loop.add_signal_handler(number, self.stop.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        listener = await asyncio.start_server(self.client, sock=sock,
                                              limit=PIECE)
        await self.stop.wait()
        listener.close()
        if self.tasks:
            _, late = await asyncio.wait(set(self.tasks),
                                         timeout=FINISH_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError(text)
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="server")
    parser.add_argument("-H", dest="host", default="0.0.0.0")
    parser.add_argument("-P", dest="port", type=port, default=12000)
    options = parser.parse_args()
    try:
        address = socket.getaddrinfo(options.host, options.port,
                                     type=socket.SOCK_STREAM)[0]
        sock = socket.create_server(address[4][:2], family=address[0])
    except OSError as error:
        print(f"server: listen at {options.host}: {error.strerror}",
              file=sys.stderr)
        return 1
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)     # until it has handlers
    asyncio.run(Server().run(sock))
    return 0


if __name__ == "__main__":
    sys.exit(main())
