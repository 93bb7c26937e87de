"""The programs of document 004, which send and take a file."""
from sockstep.case import case
from sockstep.data import pattern
from sockstep.failure import Failure
from sockstep.listener import LOOPBACK
from sockstep.uploads import NAME_OK, SIZE_OK, expect_stored

CONTENT = pattern(70_000, 6)
FILE = dict(group="The document", services=("file",))


def stored_copies(stage, source):
    """What the files of that name hold, but for the one that was sent.

    It lies above the folder in which its client works, and is sent by a
    relative path, which has another meaning in the server's folder: the server
    must not write over what is being read.  Where it stores the file is another
    case's matter.
    """
    return [path.read_bytes() for path
            in stage.directory.rglob(source.name)
            if not path.samefile(source)]


@case("document/file-client", role="server", **FILE,
      source="document 004: the client in Python",
      hints=["The document's client closes right after its last byte, without "
             "a look at the last answer.",
             "Its bytes are all there, before the end of the stream: store "
             "the file, whatever becomes of the answer."],
      by_hand="python3 conformance/peers/file_client.py HOST PORT FILE")
def test_file_client(stage, server):
    """The server serves the document's own client, and stores its file.

    That is what the readers of the document have. It waits for the first two
    answers, prints them, and is gone before the third.
    """
    source = stage.make_file("../assistant1/from python.bin", CONTENT)
    host, port = server.address
    client = stage.assist("client", "file_client.py", host, str(port),
                          "../from python.bin")
    stage.wait(client.ending, None, "file_client.py does not end",
               program=server.program)
    expected = f"{NAME_OK}\n{SIZE_OK}\n".encode()
    if client.ending().status != 0 or client.stdout != expected:
        raise Failure("output", f"file_client.py printed {client.stdout!r} "
                      f"instead of {expected!r} and ended with "
                      f"{client.ending()}",
                      client.stderr.decode(errors="replace")[-500:])
    server.quiet()
    if stored_copies(stage, source) != [CONTENT]:
        expect_stored(server, {"from python.bin": CONTENT})


@case("document/file-server", role="client", **FILE,
      source="document 004: the server in Python",
      hints=["The document's server stores what comes until the end of the "
             "stream, and answers then.",
             "After the data: shutdown(SHUT_WR), and wait for the last "
             "answer."],
      by_hand="""
      python3 conformance/peers/file_server.py HOST PORT
      # in a second terminal, from another folder:
      CLIENT -H HOST -P PORT -F FILE""")
def test_file_server(stage, launch_client):
    """The client talks to the document's own server, which stores its file.

    Whoever learns from the document has that server at hand, and the C client
    takes the place of the Python one beside it.
    """
    source = stage.make_file("../run1/from c.bin", CONTENT)
    server = stage.assist("server", "file_server.py", LOOPBACK, "0")
    port = stage.wait_listening(server).local[1]
    client = launch_client(port=port, file="../from c.bin")
    client.expect_exit(0, "the file was taken")
    client.expect_replies(NAME_OK, SIZE_OK)
    # The server writes the last of it after its answer.
    stage.wait(lambda: stored_copies(stage, source) == [CONTENT], None,
               "the file is not stored as it is", program=server)
