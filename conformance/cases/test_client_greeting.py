"""A client that says nothing and prints what comes until the end."""
from sockstep.case import case
from sockstep.data import pattern, word
from sockstep.failure import Failure, mismatch, within
from sockstep.listener import LOOPBACK
from sockstep.services import GREETING
from sockstep.transcript import count, shorten

STREAM = "Byte stream"
RUN = "Life of a client"
ENDS = "End of stream and reset"
SERVICE = dict(role="client", services=("greeting",))
#: Allocations that are made to fail, one in each run.
MOST_ALLOCATIONS = 60
#: A server by hand; `c` is the connection.
SERVE = """python3 -c 'import socket, struct, time
c = socket.create_server(("HOST", PORT)).accept()[0]
%s'
# in a second terminal:
%s"""
SERVER = "python3 conformance/peers/greeting_server.py HOST PORT\n"


def greet(client, *pieces):
    """Send each piece once the client has read the one before, and close."""
    peer = client.accept()
    client.reply(peer, *pieces)
    peer.close()


def expect_printed(client, due):
    """The client ends with status 0 and has printed exactly `due`."""
    client.expect_exit(0, "the greeting came whole")
    came = client.program.stdout
    if came == due:
        return
    wrong = mismatch(due, came)
    raise Failure("output", "standard output is not what came: from byte "
                  f"{wrong.offset:,} on {shorten(due[wrong.offset:])} is due, "
                  f"and {shorten(came[wrong.offset:])} stands there "
                  f"({len(came):,} of {count(len(due), 'byte')})",
                  mismatch=wrong)


@case("greeting/printed", **SERVICE, group=STREAM,
      source="document 002, the client; the contract of the lesson",
      hints=["What does your client print, byte by byte? See it with od -c.",
             "Write what recv() brought, by its length, and one newline if "
             "it ended without one."],
      by_hand=SERVER + """# in a second terminal:
      CLIENT -H HOST -P PORT | od -c""")
def test_printed(client):
    """The greeting is printed, with a newline after it, and the status is 0.

    The newline is the client's own, for the next line of the terminal; what
    came is printed as it came.
    """
    greet(client, GREETING)
    expect_printed(client, GREETING + b"\n")


@case("greeting/own-newline", **SERVICE, group=STREAM,
      source="the contract of the lesson",
      hints=["What if the server's text ends with a newline of its own?",
             "Look at the last byte that came before you add a newline."],
      by_hand=SERVE % ('c.send(b"Hello.\\n")',
                       "CLIENT -H HOST -P PORT | od -c   # one newline only"))
def test_own_newline(client):
    """A greeting that ends with a newline is printed as it came.

    Most servers that greet (mail, news, file transfer) end their lines. A
    second newline would be a line that nobody sent.
    """
    greeting = b"220 ready when you are, %s\r\n" % word()
    greet(client, greeting)
    expect_printed(client, greeting)


@case("greeting/split", **SERVICE, group=STREAM, defects=(1, 35),
      source="recv(2): it returns what is there; tcp(7): a byte stream",
      hints=["One send() of the server's may be several recv() of yours.",
             "Call recv() until it returns 0."],
      by_hand=SERVE % ('for piece in (b"Thank ", b"you"): '
                       'c.send(piece); time.sleep(1)',
                       "CLIENT -H HOST -P PORT    # must print: Thank you"))
def test_split(client):
    """A greeting that comes in several pieces is printed whole.

    The network cuts a stream where it likes. A client that calls recv() once
    prints the first piece and takes it for all.
    """
    greet(client, GREETING[:1], GREETING[1:9], GREETING[9:])
    expect_printed(client, GREETING + b"\n")


@case("greeting/sizes", **SERVICE, group=STREAM, defects=(5, 6),
      source="recv(2), the parameter len",
      hints=["What if more comes than your buffer holds?",
             "Print what one recv() brought, by its length, before you call "
             "it again; then the buffer may have any size."],
      by_hand=SERVE % ('c.sendall(b"x" * 100000)',
                       "CLIENT -H HOST -P PORT | wc -c    # 100001"))
def test_sizes(launch_client):
    """A greeting of any length is printed whole.

    The client can't know the length before, and its buffer has some size or
    other: the greeting may fill it exactly, or be longer by one byte.
    """
    for size in (1, 1023, 1024, 1025, 4096, 100_000):
        text = pattern(size, size)
        with within(f"with a greeting of {count(size, 'byte')}"):
            client = launch_client()
            peer = client.accept()
            peer.send(text)
            peer.close()
            expect_printed(client, text + b"\n")


@case("greeting/any-bytes", **SERVICE, group=STREAM, defects=(4, 119),
      source="recv(2): it adds no NUL; printf(3): a format is no text",
      hints=["What does printf() do at a % sign, and at a NUL?",
             "Use the count that recv() returned, with fwrite() or write(); "
             "never give what came to printf() as its format."],
      by_hand=SERVE % ('c.send(b"100%s\\0 sure")',
                       "CLIENT -H HOST -P PORT | od -c"))
def test_any_bytes(client):
    """Every byte value is printed as it came: NUL, per cent signs and all.

    What comes from the network is data of somebody else's. As a format of
    printf() it reads, or writes, the memory of the client.
    """
    text = b"100%s %n %5$x\0" + bytes(range(256)) + b"!"
    greet(client, text)
    expect_printed(client, text + b"\n")


@case("greeting/reset", **SERVICE, group=ENDS, defects=(43,),
      source="recv(2), ECONNRESET; tcp(7)",
      hints=["After the first piece something else than the end may come.",
             "Keep -1 and 0 of recv() apart: -1 is a failure, to be told, "
             "with status 1."],
      by_hand=SERVE % ("""c.send(b"Thank"); time.sleep(1)
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
             struct.pack("ii", 1, 0)); c.close()""",
                       "CLIENT -H HOST -P PORT; echo $?      # must say 1"))
def test_reset(client):
    """A greeting that is broken off is a failure: status 1 and a message.

    A reset says that the rest will not come. A client that ends with status 0
    passes off a part as the whole.
    """
    peer = client.accept()
    client.reply(peer, GREETING[:5])
    peer.reset()
    client.expect_exit(1, "the connection was reset")
    client.stage.expect_complaint()


@case("greeting/recv-interrupted", **SERVICE, group="Signals", defects=(20,),
      plans=True, source="recv(2), EINTR; signal(7), interruption of system "
      "calls",
      hints=["recv() can return -1 although nothing is wrong: look at errno.",
             "When recv() or poll() fails with EINTR, call it again, as "
             "often as it takes."],
      by_hand=SERVER + """# in a second terminal:
      strace -o /dev/null -e inject=recvfrom:error=EINTR:when=1..2 \\
          CLIENT -H HOST -P PORT; echo $?""")
def test_recv_interrupted(launch_client):
    """A signal while the client waits for the greeting does not end it.

    EINTR is no error of the connection: nothing was read, nothing is lost,
    and the same call made again gets the bytes.
    """
    client = launch_client(plan="recv@1-2=EINTR; wait@1-2=EINTR")
    greet(client, GREETING)
    expect_printed(client, GREETING + b"\n")


@case("greeting/connect-interrupted", **SERVICE, group="Signals",
      defects=(23,), source="POSIX.1-2008 connect(), EINTR: the connection "
      "is made asynchronously; connect(2), EINPROGRESS",
      hints=["After EINTR connect() goes on in the kernel. What would a "
             "second connect() say?",
             "Wait with poll() until the socket is writable, then ask "
             "getsockopt(SO_ERROR) how it went."],
      by_hand=SERVER + """# in a second terminal, must print the greeting and 0:
      LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='connect@1=late:EINTR' \\
          CLIENT -H HOST -P PORT; echo $?""")
def test_connect_interrupted(launch_client):
    """A signal that interrupts connect() costs neither client nor server.

    The connection is made all the same. A second connect() on that socket
    fails with EALREADY or EISCONN, and a second socket would be a second
    client to the server.
    """
    client = launch_client(plan="connect@1=late:EINTR")
    greet(client, GREETING)
    expect_printed(client, GREETING + b"\n")
    client.listener.nobody()


@case("greeting/output-full", **SERVICE, group=RUN, defects=(118,),
      source="full(4); write(2), ENOSPC; fflush(3)",
      hints=["printf() and fwrite() can fail, and often only when the buffer "
             "is written out.",
             "Test fflush(stdout) and ferror(stdout), at the end at least; "
             "say what failed and end with status 1."],
      by_hand=SERVER + """# in a second terminal, must print a message and 1:
      CLIENT -H HOST -P PORT > /dev/full; echo $?""")
def test_output_full(launch_client):
    """A greeting that can't be written to standard output is a failure.

    The disk may be full. A client that ends with status 0 all the same makes
    the one who reads the file believe that this is all.
    """
    client = launch_client(stdout="/dev/full")
    peer = client.accept()
    peer.send(GREETING)
    peer.half_close()
    client.expect_exit(1, "standard output is full")
    client.stage.expect_complaint()


@case("greeting/client-heap", **SERVICE, group="Resources",
      defects=(5, 68, 95), valgrind=True,
      source="freeaddrinfo(3); malloc(3); recv(2): it adds no NUL",
      hints=["What did getaddrinfo() allocate for you?",
             "Call freeaddrinfo() on every way out, also where no address "
             "answered; run the client under valgrind --leak-check=full."],
      by_hand="""
      # nobody listens on port 1:
      valgrind --leak-check=full CLIENT -H 127.0.0.1 -P 1
      """ + SERVER + """# in a second terminal:
      valgrind --leak-check=full CLIENT -H HOST -P PORT""")
def test_client_heap(stage, launch_client):
    """All memory is used within its bounds and freed, also after a failure.

    The list of addresses belongs to the program that asked for it, whether a
    connection came of it or not.
    """
    client = launch_client()
    peer = client.accept()
    peer.send(pattern(1024))
    peer.close()
    client.expect_exit(0, "the greeting came whole")
    client = launch_client(listener=stage.listen(backlog=-1))
    client.expect_exit(1, "the connection is refused")


@case("greeting/client-memory", **SERVICE, group="Resources", defects=(67,),
      plans=True, starves=True, source="malloc(3), RETURN VALUE; getaddrinfo(3), "
      "EAI_MEMORY",
      hints=["malloc() and getaddrinfo() fail when there is no memory.",
             "Look at each result; say what failed and end with status 1."],
      by_hand=SERVER + """# in a second terminal, with 1, then 2, then 3 ...
      LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='malloc@1=ENOMEM' CLIENT -H HOST -P PORT; echo $?""")
def test_client_memory(stage, launch_client):
    """A client that gets no memory fails in order: it does not crash.

    Each allocation fails once, in a run of its own. The run ends with the
    greeting and status 0, or with status 1.
    """
    for number in range(1, MOST_ALLOCATIONS + 1):
        listener = stage.listen()
        client = launch_client(listener=listener,
                               plan=f"malloc@{number}=ENOMEM")
        client.program.plan_may_miss = True
        with within(f"with allocation {number} failing"):
            survive(client)
        if not any(call.injected for call in client.program.calls()):
            client.expect_exit(0, "it got all the memory that it asked for")
            return                          # it makes no more than these


def survive(client):
    """The greeting and status 0, or a clean failure."""
    try:
        greet(client, GREETING)
    except Failure as failure:
        if failure.kind != "exit":          # else: it could not go on
            raise
    ending = client.stage.wait_end(client.program)
    if ending.signal is not None:
        raise Failure("crash", client.stage.crash_of(client.program))
    if ending.status == 0:
        expect_printed(client, GREETING + b"\n")
    elif ending.status != 1:
        raise Failure("exit", "status 1 is due where it can't go on; it "
                      f"ended with {ending}")


@case("document/greeting-server", **SERVICE, group="The document",
      source="document 002, the server",
      hints=["The document's server sends its greeting without a newline and "
             "closes.",
             "Take the end of the stream for the end of the greeting; wait "
             "for no newline."],
      by_hand=SERVER + """# in a second terminal:
      CLIENT -H HOST -P PORT""")
def test_python_server(stage, launch_client):
    """The client talks to the document's own server.

    Whoever learns from the document has that server at hand, and the C client
    takes the place of the Python one beside it.
    """
    server = stage.assist("server", "greeting_server.py", LOOPBACK, "0")
    port = stage.wait_listening(server).local[1]
    server.freeze()                     # who only pretends does not connect
    client = launch_client(port=port)
    stage.wait(lambda: any(row.receive_queue for row
                           in stage.diag.listeners()
                           if row.local[1] == port), None,
               "the client does not connect")
    server.thaw()
    expect_printed(client, GREETING + b"\n")
