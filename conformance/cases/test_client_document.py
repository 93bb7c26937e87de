"""The documents' own servers, as partners of a client."""
from sockstep.case import STREAMS, case
from sockstep.data import word
from sockstep.listener import LOOPBACK

#: The documents' servers, by the number of messages on one connection.
SERVERS = {"one": ["echo_server_once.py"],
           "many": ["echo_server_repeating.py", "echo_server_in_turn.py"],
           "unix": ["echo_server_unix.py"]}


@case("document/python-server", role="client", group="The document",
      source="documents 001 and 000: the servers in Python",
      hints=["The document's server sends back what came, as it came, and "
             "nothing else.",
             "It adds no newline and no length of its own: what your client "
             "waits for must be in what it sent."],
      transports=STREAMS,
      by_hand="""
      python3 conformance/peers/echo_server_in_turn.py HOST PORT
      # in a second terminal:
      printf 'one\\ntwo\\n' | CLIENT -H HOST -P PORT""")
def test_python_server(stage, target, launch_client):
    """The client talks to the document's own server.

    Whoever learns from the document has that server at hand, and the C client
    takes the place of the Python one beside it.
    """
    lines = [b"from C to Python: " + word(), b"and back"]
    if target.contract.messages == "one":
        lines = lines[:1]
    unix = target.contract.transport == "unix"
    scripts = SERVERS["unix" if unix else target.contract.messages]
    if target.contract.clients == "many":
        scripts = [*scripts, "echo_server_threads.py"]
    for script in scripts:
        path = stage.unix_path() if unix else ""
        server = stage.assist("server", script,
                              *([path] if unix else [LOOPBACK, "0"]))
        row = stage.wait_listening(server)
        server.freeze()                 # who only pretends does not connect
        client = launch_client(path=path, port=0 if unix else row.local[1])
        client.type(b"".join(line + b"\n" for line in lines))
        client.end_input()
        stage.wait(lambda: any(again.receive_queue for again
                               in stage.diag.listeners()
                               + stage.diag.unix_listeners()
                               if again.inode == row.inode), None,
                   "the client does not connect")
        server.thaw()
        client.expect_exit(0, "every line got its reply")
        client.expect_replies(*lines)
