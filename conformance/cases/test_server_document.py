"""The documents' own clients, seen from a server."""
from sockstep.case import STREAMS, case
from sockstep.data import word
from sockstep.failure import Failure

LAST = b"and the last one: " + word()
LINES = (b"one", b"two", LAST, b"")
REPLIES = b":>one\n:>two\n:>%s\n:" % LAST
#: For each kind of contract: client, what is typed, what it must print.
CLIENTS = {
    "one": [("echo_client_once.py", LINES[2:3], b":>%s\n" % LAST)],
    "many": [
        ("echo_client_repeating.py", LINES, REPLIES),
        ("echo_client_000.py", LINES,
         b"> b'one'\n> b'two'\n> b'%s'\n> " % LAST)],
    "unix": [("echo_client_unix.py", LINES, REPLIES)],
}


@case("document/python-client", role="server", group="The document",
      source="documents 000 and 001, the clients",
      hints=["The documents' clients send a line without its newline, and "
             "keep the connection open while they wait for the echo.",
             "Send back what recv() brings at once; do not wait for the "
             "newline or for the end of the stream."],
      transports=STREAMS,
      by_hand="""printf 'one\\ntwo\\n\\n' |
                 python3 conformance/peers/echo_client_repeating.py HOST PORT
                 (echo_client_once.py for the single-shot server)""")
def test_python_client(server):
    """The server serves the documents' own clients.

    Those are what the readers of the documents have. They take what one
    recv() brings for the whole answer, and leave without a half-close.
    """
    for number, talk in enumerate(CLIENTS[
            "unix" if server.path else server.target.contract.messages]):
        if number > 0:
            server = server.again()
        run_client(server, *talk)
    server.done()


def run_client(server, script, lines, output):
    """Let a client of the documents say `lines`; it prints `output`."""
    words = [server.path] if server.path else map(str, server.address)
    client = server.stage.assist("client", script, *words)
    client.type(b"".join(line + b"\n" for line in lines))
    client.end_input()
    server.stage.wait(client.ending, None, f"{script} does not end",
                      program=server.program)
    if client.ending().status != 0 or client.stdout != output:
        raise Failure(
            "output", f"{script} printed {client.stdout!r} instead of "
            f"{output!r} and ended with {client.ending()}",
            client.stderr.decode(errors="replace")[-500:])
