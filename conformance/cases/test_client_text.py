"""Replies that are text: characters, and not as many bytes as were sent."""
from sockstep.case import case
from sockstep.data import capitals, word
from sockstep.failure import within
from sockstep.listener import LOOPBACK

GROUP = "Text"
#: A server by hand that answers in capitals.
SERVE = """python3 conformance/peers/uppercase_server.py HOST PORT
# in a second terminal:
%s"""


def exchange(client, line, *cuts):
    """The harness's server answers a line, in pieces cut at `cuts`."""
    client.type(line + b"\n")
    peer = client.accept()
    reply = capitals(client.read_line(peer, line))
    places = [0, *cuts, len(reply)]
    client.reply(peer, *[reply[begin:end] for begin, end
                         in zip(places, places[1:])])
    client.finish()
    client.expect_replies(capitals(line))


@case("text/reply-longer", role="client", group=GROUP, defects=(35, 121),
      services=("uppercase",), source="The Unicode Standard, 3.13, rule R1; "
      "recv(2)",
      hints=["The reply is longer than the line. When do you stop to read?",
             "Not after as many bytes as you have sent: the newline ends the "
             "reply."],
      by_hand=SERVE % """
      python3 -c 'print("ΐ" * 150)' | CLIENT -H HOST -P PORT | wc -c
      # 914 is due: 900 bytes, the newline, and the prefix""")
def test_reply_longer(client):
    """A reply that is longer than its request is printed whole.

    Who counts the bytes of the request, as one may with an echo, cuts off the
    end of such a reply.
    """
    exchange(client, "ΐ".encode() * 600 + word(), 1207)


@case("text/reply-shorter", role="client", group=GROUP, defects=(86, 124),
      services=("uppercase",), source="The Unicode Standard, 3.13, rule R1; "
      "recv(2)",
      hints=["The reply is shorter than the line. What do you wait for?",
             "Not for as many bytes as you have sent: the newline ends the "
             "reply."],
      by_hand=SERVE % """
      echo ıſıſ | CLIENT -H HOST -P PORT; echo $?
      # ISIS and 0 are due""")
def test_reply_shorter(client):
    """A reply that is shorter than its request is whole, and no failure.

    Who counts the bytes of the request waits for more, and takes the server's
    end for a reply that is cut off.
    """
    exchange(client, word() + "ıſıſ".encode())
    client.expect_exit(0, "the reply is whole")


@case("text/reply-split-character", role="client", group=GROUP,
      defects=(9, 35), services=("uppercase",),
      source="recv(2); RFC 3629 3; RFC 9293 3.8",
      hints=["One recv() may end in the middle of a character. What do you "
             "do with the piece?",
             "Print the bytes as they come, in the order in which they come; "
             "a terminal puts the character together."],
      by_hand="""python3 -c 'import socket, time
c = socket.create_server(("HOST", PORT)).accept()[0]
c.recv(99); c.send(b"A\\303"); time.sleep(1); c.send(b"\\211\\n")'
# in a second terminal, must print AÉ:
echo aé | CLIENT -H HOST -P PORT""")
def test_reply_split_character(launch_client):
    """Characters of a reply are printed whole wherever they are cut.

    Decoding piece by piece fails at the first character that is in two
    pieces.
    """
    line = "é𐐨ẻ".encode() + word()
    for cut in range(1, len(line)):
        with within(f"cut after byte {cut} of {capitals(line).hex(' ')}"):
            exchange(launch_client(), line, cut)


@case("document/uppercase-server", role="client", group="The document",
      services=("uppercase",), source="document 003, 7.2: TCPServer.py",
      hints=["The document's server answers what one recv() brought, and then "
             "closes.",
             "It sends your newline back, if you have sent one: what your "
             "client waits for must be in what it sent."],
      by_hand="""
      python3 conformance/peers/uppercase_server.py HOST PORT
      # in a second terminal, must print From Server: STRASSE
      echo straße | CLIENT -H HOST -P PORT""")
def test_uppercase_server(stage, launch_client):
    """The client talks to the document's own server.

    Whoever learns from the document has that server at hand, and the C client
    takes the place of the Python one beside it.
    """
    server = stage.assist("server", "uppercase_server.py", LOOPBACK, "0")
    port = stage.wait_listening(server).local[1]
    server.freeze()                     # who only pretends does not connect
    client = launch_client(port=port)
    client.type(word() + " straße\n".encode())
    client.end_input()
    stage.wait(lambda: any(row.receive_queue for row in stage.diag.listeners()
                           if row.local[1] == port), None,
               "the client does not connect")
    server.thaw()
    client.expect_exit(0, "the line got its reply")
    client.expect_replies(word().upper() + b" STRASSE")
