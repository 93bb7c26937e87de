"""A client that sends a file: does it send it whole, and say the truth?"""
import errno
import hashlib
import os

from sockstep.case import SHOULD, case
from sockstep.data import pattern
from sockstep.failure import Failure, mismatch, within
from sockstep.transcript import count, shorten
from sockstep.uploads import (
    FILE_OK, HEADER_OK, NAME_OK, REFUSED, SIZE_OK, header, message, take)

FILE = dict(role="client", group="Files", services=("file",))
CONTENT = pattern(5000, 9)
REASON = b"the disk has no room for it"
#: By hand: a server of the document's, and a FILE to send.
SERVER = "python3 conformance/peers/file_server.py HOST PORT\n"
SEND = SERVER + "# in a second terminal:\nCLIENT -H HOST -P PORT -F FILE; echo $?"
#: A server by hand; `c` is the connection.
SERVE = """python3 -c 'import socket, struct, time
c = socket.create_server(("HOST", PORT)).accept()[0]
%s'
# in a second terminal:
CLIENT -H HOST -P PORT -F FILE; echo $?"""
OK = 'c.recv(999); c.sendall(b"%s")\n'
ANSWERS = OK % NAME_OK.decode() + OK % SIZE_OK.decode()


def serve(client, content, answer=FILE_OK):
    """Be a server that takes the whole upload, and end it with `answer`."""
    peer = client.accept()
    take(client, peer, len(content))
    peer.send(SIZE_OK)
    peer.expect(content)
    if answer:
        expect_no_more(peer)            # the document's server waits for it
        peer.send(answer)
    return peer


def expect_no_more(peer):
    """The stream ends behind the file."""
    if more := peer.until_end():
        raise Failure("wrong-bytes", "behind the whole file came "
                      f"{shorten(more)}")


def expect_failure_told(client, why, *reasons):
    """The client ends with status 1 and has said what failed."""
    client.end_input()
    client.expect_exit(1, why)
    client.stage.expect_complaint(*reasons)


@case("upload/whole", **FILE, defects=(7, 31),
      source="document 004, the client; POSIX.1-2008 XCU 2.8.2: status 0",
      hints=["Name, size and data: three messages, and an answer after each.",
             "Wait for the answer before you send the next one, since nothing "
             "else tells the server where one ends."],
      by_hand=SEND)
def test_whole(stage, launch_client):
    """Name, size and data are sent, each after the answer to the one before.

    The name and the size have no end of their own in this protocol. Two that
    are sent at once arrive as one.
    """
    path = stage.make_file("what is sent.bin", CONTENT)
    client = launch_client(file=path)
    peer = client.accept()
    name = message(client, peer)
    if not name.endswith(b"what is sent.bin"):
        raise Failure("wrong-bytes", "the file's name is due first; there "
                      f"came {shorten(name)}",
                      mismatch=mismatch(b"what is sent.bin", name))
    peer.send(NAME_OK)
    size = message(client, peer)
    if size != b"5000":
        raise Failure("wrong-bytes", "the size is due next, 5000; there came "
                      f"{shorten(size)}", mismatch=mismatch(b"5000", size))
    peer.send(SIZE_OK)
    peer.expect(CONTENT)
    expect_no_more(peer)
    peer.send(FILE_OK)
    peer.close()
    client.expect_exit(0, "the file was taken")


@case("upload/sizes", **FILE, defects=(6, 111),
      source="read(2): 0 at the end of the file; send(2)",
      hints=["Which sizes are special to your program? Those of its buffers, "
             "and 0.",
             "Send as many bytes as read() returned, not as many as the buffer "
             "has."],
      by_hand="head -c 1024 /dev/zero > FILE\n" + SEND)
def test_sizes(stage, launch_client):
    """A file of any size is sent whole, also an empty one.

    Where a file ends with the buffer, one read brings the last byte and the
    next one nothing.
    """
    for size in (0, 1, 1023, 1024, 1025, 65_536, 1 << 20):
        content = pattern(size, size)
        client = launch_client(file=stage.make_file(f"{size}.bin", content))
        with within(f"a file of {count(size, 'byte')}"):
            serve(client, content).close()
            client.expect_exit(0, "the file was taken")


@case("upload/printed", **FILE, source="document 004: the client prints each "
      "answer; the program contract",
      hints=["What does a person at the terminal see of the answers?",
             "Print each one on a line of its own, and do not forget its "
             "length: an answer has no NUL at its end."],
      by_hand=SEND)
def test_printed(stage, launch_client):
    """The answers to name and size are printed, each on a line of its own.

    That is what the document's client shows, and how its user follows it.
    """
    client = launch_client(file=stage.make_file("sent.bin", CONTENT))
    serve(client, CONTENT).close()
    client.stage.wait_end(client.program)
    client.expect_replies(NAME_OK, SIZE_OK)


@case("upload/answers-split", **FILE, defects=(1, 35),
      source="tcp(7): a stream has no boundaries; recv(2)",
      hints=["One recv() is not one answer. When is the answer to the name "
             "whole?",
             "Its text is known: receive as many bytes, and compare."],
      by_hand=SERVE % "\n".join((
          'c.recv(999); c.sendall(b"[+] server"); time.sleep(1)',
          'c.sendall(b" : filename query ok")',
          "print(c.recv(999))       # the size is due, alone")))
def test_answers_split(stage, launch_client):
    """An answer that comes in pieces is read whole before the next message.

    A client that takes the first piece for the answer is one step ahead of
    its server from then on.
    """
    client = launch_client(file=stage.make_file("sent.bin", CONTENT))
    peer = client.accept()
    message(client, peer)
    for answer, due in ((NAME_OK, b"5000"), (SIZE_OK, CONTENT)):
        for piece in (answer[:1], answer[1:20]):
            peer.send(piece)
            if early := message(client, peer):
                raise Failure("wrong-bytes", f"the client sent {shorten(early)}"
                              f" before the answer {shorten(answer)} was whole")
        peer.send(answer[20:])
        peer.expect(due)
    peer.until_end()
    peer.send(FILE_OK)
    peer.close()
    client.stage.wait_end(client.program)


@case("upload/refused", **FILE, defects=(31, 43),
      source="the wire contract: a refusal is reported with status 1",
      hints=["The answer begins with [-]. Do you look at it?",
             "Compare each answer with the one that is due. Any other is a "
             "refusal: print it on standard error and end with status 1."],
      by_hand=SERVE % f'c.recv(999); c.sendall(b"{REFUSED.decode()}no room")')
def test_refused(stage, launch_client):
    """A refusal is told with its reason, with status 1, and no data follow.

    A script that sends its backups at night sees the status and nothing else.
    Status 0 must mean that the file is there.
    """
    for number, what in enumerate(("the name", "the size", "the data")):
        client = launch_client(file=stage.make_file("sent.bin", CONTENT))
        peer = client.accept()
        for answer in (NAME_OK, SIZE_OK)[:number]:
            message(client, peer)
            peer.send(answer)
        if number == 2:
            peer.expect(CONTENT)
        else:
            message(client, peer)
        peer.send(REFUSED + REASON)
        client.quiet()
        peer.half_close()
        with within(f"{what} refused"):
            if more := peer.until_end():
                raise Failure("wrong-bytes", f"{count(len(more), 'byte')} "
                              "followed the refusal")
            peer.close()
            expect_failure_told(client, "the server has refused the file",
                                REASON.decode())


@case("upload/no-last-answer", **FILE, defects=(43,),
      source="recv(2): 0 is the end of the stream; send(2) tells that the "
             "kernel took the bytes, not that they arrived",
      hints=["send() has taken the last byte. Is the file on the server then?",
             "Only the last answer says so. If the stream ends before it, say "
             "so and end with status 1."],
      by_hand=SERVE % (ANSWERS + "c.recv(99999)"))
def test_no_last_answer(stage, launch_client):
    """Without the last answer the upload has failed: status 1 and a message.

    The server may have crashed with the file half written. The answer may be
    missing, or come in part only.
    """
    for offset in (0, 20, len(FILE_OK) - 1):
        client = launch_client(file=stage.make_file("sent.bin", CONTENT))
        peer = serve(client, CONTENT, b"")
        peer.send(FILE_OK[:offset])
        peer.half_close()
        with within(f"{offset} bytes of the last answer came"):
            expect_failure_told(client, "the server never said that it has "
                                "the file")
        peer.close()


@case("upload/ends-data", **FILE, defects=(34,),
      source="shutdown(2), SHUT_WR; document 004: its server reads until the "
             "stream ends",
      hints=["How does the document's server know that it has all the data?",
             "After the last byte: shutdown(SHUT_WR). You can still receive "
             "the last answer."],
      by_hand=SEND)
def test_ends_data(stage, launch_client):
    """After the data the client ends its stream, and reads on.

    The document's server takes the end of the stream for the end of the file,
    and answers only then.
    """
    client = launch_client(file=stage.make_file("sent.bin", CONTENT))
    peer = serve(client, CONTENT, b"")
    peer.expect_end()
    peer.send(FILE_OK)
    peer.close()
    client.stage.wait_end(client.program)


@case("upload/huge-size", **FILE, defects=(10, 111),
      source="stat(2), st_size; malloc(3), ENOMEM; lseek(2) on holes in files",
      hints=["What does your client do before it announces the size? How much "
             "memory does that take?",
             "Ask fstat() for the size, in an off_t of 64 bits; read the file "
             "in pieces, or let sendfile() send it."],
      by_hand="truncate -s 42949672961 FILE\n" + SEND)
def test_huge_size(stage, launch_client):
    """A file of 40 GiB is announced as what it is, at once.

    It is one byte longer than that, so that 32 bits would make 1 of it, and no
    machine can hold it in memory. (The server refuses it here.)
    """
    size = (40 << 30) + 1
    client = launch_client(file=stage.make_file("huge.bin", b"begin", size))
    peer = client.accept()
    take(client, peer, size)
    peer.send(REFUSED + REASON)
    peer.half_close()
    expect_failure_told(client, "the server has refused the file")
    peer.close()


@case("upload/shrunk", **FILE, defects=(106,),
      source="sendfile(2) and read(2): 0 at the end of the file",
      hints=["The file was cut while it was being sent. What has the server "
             "been promised?",
             "read() or sendfile() returns 0 before the announced size is "
             "reached: say so and end with status 1."],
      by_hand=SERVE % (ANSWERS + "time.sleep(9)") +
      "\n# meanwhile: truncate -s 100 FILE, with a large FILE")
def test_shrunk(stage, launch_client):
    """A file that gets shorter while it is sent is a failure, status 1.

    The server waits for bytes that do not exist. Neither it nor the user may
    take the part for the whole; nothing else may be sent in their place.
    """
    path = stage.make_file("sent.bin", CONTENT)
    client = launch_client(file=path)
    peer = client.accept()
    take(client, peer, len(CONTENT))
    client.quiet()
    os.truncate(path, 3000)
    peer.send(SIZE_OK)
    if (came := peer.until_end()) != CONTENT[:len(came)]:
        raise Failure("wrong-bytes", "other bytes came than the file has",
                      mismatch=mismatch(CONTENT, came))
    peer.close()
    expect_failure_told(client, "the file was cut while it was being sent")


@case("upload/grown", **FILE, defects=(106,),
      source="the wire contract: the announced size ends the data",
      hints=["Somebody wrote to the file after you asked for its size. How "
             "many bytes do you send?",
             "Send as many as were announced, and no more: count down."],
      by_hand=SERVE % (ANSWERS + "print(len(c.recv(99999)))") +
      "\n# meanwhile: echo more >> FILE")
def test_grown(stage, launch_client):
    """Of a file that grows while it is sent, the announced bytes are sent.

    Log files do that all the time. What follows the announced size is no part
    of the file for the server, and breaks whatever follows on the connection.
    """
    path = stage.make_file("sent.bin", CONTENT)
    client = launch_client(file=path)
    peer = client.accept()
    take(client, peer, len(CONTENT))
    client.quiet()
    with open(path, "ab") as file:
        file.write(b"more of it")
    peer.send(SIZE_OK)
    peer.expect(CONTENT)
    if more := peer.until_end():
        raise Failure("wrong-bytes", "after the announced 5,000 bytes came "
                      f"{shorten(more)}")
    peer.send(FILE_OK)
    peer.close()
    client.stage.wait_end(client.program)


@case("upload/not-a-file", **FILE, defects=(112,),
      source="open(2): O_NONBLOCK, and FIFOs; stat(2), S_ISREG; fifo(7)",
      hints=["open() of a FIFO waits until somebody writes to it. Who would?",
             "Open with O_NONBLOCK, ask fstat() whether it is a regular file "
             "(S_ISREG), and end with status 1 if not."],
      by_hand="mkfifo pipe; CLIENT -H HOST -P PORT -F pipe; echo $?\n"
              "CLIENT -H HOST -P PORT -F .; echo $?")
def test_not_a_file(stage, launch_client):
    """What is no regular file is refused: status 1, and a message.

    A folder, a FIFO or a device has no size that could be announced. A client
    that opens a FIFO waits for ever for somebody to write to it.
    """
    folder = stage.make_file("folder/inside.txt", b"").parent
    fifo = folder / "pipe"
    os.mkfifo(fifo)
    for what, path in (("a folder", folder), ("a FIFO", fifo),
                       ("a device", "/dev/null")):
        with within(what):
            client = launch_client(file=path)
            expect_failure_told(client, f"{what} was to be sent")


@case("upload/no-file", **FILE, source="open(2), ENOENT; strerror(3)",
      hints=["open() or fopen() can fail. What is sent then?",
             "Print `program: what: why` with the file's name and strerror(), "
             "and end with status 1."],
      by_hand="CLIENT -H HOST -P PORT -F /nowhere; echo $?")
def test_no_file(stage, launch_client):
    """A file that can't be opened is told, with the reason, and status 1.

    Nothing may be announced of it: the server would wait for it, or keep an
    empty file.
    """
    client = launch_client(file=stage.directory / "nowhere.bin")
    expect_failure_told(client, "there is no such file",
                        os.strerror(errno.ENOENT))
    client.expect_no_output()


@case("upload/no-server", **FILE, defects=(44,),
      source="connect(2), ECONNREFUSED",
      hints=["What does connect() return where no server is?",
             "Print `program: what: why` on standard error, with strerror() "
             "for the why, and end with status 1."],
      by_hand="CLIENT -H 127.0.0.1 -P 1 -F FILE; echo $?")
def test_no_server(stage, launch_client):
    """Where no server listens, the client says so and ends with status 1.

    The message goes to standard error, since standard output is for answers.
    """
    client = launch_client(listener=stage.listen(backlog=-1),
                           file=stage.make_file("sent.bin", CONTENT))
    expect_failure_told(client, "the connection is refused",
                        os.strerror(errno.ECONNREFUSED))
    client.expect_no_output()


@case("upload/base-name", **FILE, level=SHOULD, defects=(104,),
      source="document 004: its client sends the path that it was given; "
             "CWE-200",
      hints=["Your file is /home/you/secret/x.txt. How much of that concerns "
             "the server?",
             "Send what is behind the last slash."],
      by_hand=SERVE % "print(c.recv(999))")
def test_base_name(stage, launch_client):
    """The name that is sent is the last part of the path.

    The folders of the client's machine mean nothing on the server's, and a
    server that opens the path as it comes writes to them.
    """
    client = launch_client(file=stage.make_file("a/b/sent.bin", CONTENT))
    peer = client.accept()
    name = message(client, peer)
    if name != b"sent.bin":
        raise Failure("wrong-bytes", f'the name "sent.bin" is due; there came '
                      f"{shorten(name)}", mismatch=mismatch(b"sent.bin", name))
    peer.close()
    client.stage.wait_end(client.program)


@case("upload/short-send", **FILE, defects=(13, 14, 15),
      source="send(2) and sendfile(2), RETURN VALUE: the number of bytes sent",
      hints=["send() may take fewer bytes than it was given. Which of its "
             "results do you look at?",
             "Go on with the first byte that is not sent yet, until the "
             "announced size is reached."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_FAULTS='send@*=short:7' \\
          CLIENT -H HOST -P PORT -F FILE
      # against
      """ + SERVER)
def test_short_send(stage, launch_client):
    """Where the kernel takes a part of the data only, the rest follows.

    That is no error. It comes when the buffer is nearly full, and with a
    signal.
    """
    content = CONTENT[:200]
    client = launch_client(plan="send@*=short:7",
                           file=stage.make_file("sent.bin", content))
    serve(client, content).close()
    client.stage.wait_end(client.program)


@case("upload/interrupted", **FILE, defects=(20, 22),
      source="signal(7), EINTR; recv(2); send(2); sendfile(2)",
      hints=["EINTR says that a signal came, and nothing else.",
             "Make the same call again after EINTR."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='recv@1=EINTR;send@2=EINTR' \\
          CLIENT -H HOST -P PORT -F FILE
      # against
      """ + SERVER)
def test_interrupted(stage, launch_client):
    """A signal does not end the upload.

    A timer, a child that ends or a window whose size changes is enough.
    """
    for plan in ("recv@1=EINTR", "recv@3=EINTR", "send@1=EINTR",
                 "send@2=EINTR", "send@3=EINTR"):
        client = launch_client(plan=plan,
                               file=stage.make_file("sent.bin", CONTENT))
        client.program.plan_may_miss = plan == "recv@3=EINTR"
        with within(plan):
            serve(client, CONTENT).close()
            client.stage.wait_end(client.program)


@case("upload/server-lost", **FILE, defects=(13, 26, 43),
      source="send(2), ECONNRESET and EPIPE; signal(7), SIGPIPE",
      hints=["The server broke off in the middle of the data. What did send() "
             "return?",
             "A short count or -1: go on until it is -1, say what failed and "
             "end with status 1. Keep SIGPIPE away."],
      by_hand=SERVE % (ANSWERS + """time.sleep(1)
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
c.close()""") + "      # with a FILE of 90 MB")
def test_server_lost(stage, launch_client):
    """A server that breaks off during the data is a failure, status 1.

    The client is blocked in the middle of a large file then. It must neither
    be killed by SIGPIPE nor end as if all were well.
    """
    content = pattern(12 << 20, 1)
    client = launch_client(file=stage.make_file("large.bin", content),
                           listener=stage.listen(receive_buffer=8192))
    peer = client.accept()
    take(client, peer, len(content))
    peer.send(SIZE_OK)
    client.quiet()
    peer.reset()
    expect_failure_told(client, "the server broke off")


@case("upload/refused-midway", **FILE, defects=(17, 122),
      source="poll(2), POLLIN; the wire contract: a refusal may come at any "
             "time",
      hints=["The server's disk is full after half of the data. It says so and "
             "reads no more. Who looks at the socket while you send?",
             "Wait with poll() for POLLIN and POLLOUT at once; what comes "
             "before the data are complete is a refusal."],
      by_hand=SERVE % (ANSWERS + f"""time.sleep(1)
c.sendall(b"{REFUSED.decode()}no room"); time.sleep(99)""") +
      "      # with a FILE of 90 MB")
def test_refused_midway(stage, launch_client):
    """A refusal is seen while data are being sent.

    A server that has no more room says so and stops to read. A client that
    only sends waits for ever, or learns from a reset that something failed,
    but not what.
    """
    content = pattern(12 << 20, 1)
    client = launch_client(file=stage.make_file("large.bin", content),
                           listener=stage.listen(receive_buffer=8192))
    peer = client.accept()
    take(client, peer, len(content))
    peer.send(SIZE_OK)
    client.quiet()
    peer.send(REFUSED + REASON)
    expect_failure_told(client, "the server has refused the file",
                        REASON.decode())
    peer.close()


@case("upload/output-full", **FILE, defects=(118,),
      source="full(4); write(2), ENOSPC; fflush(3)",
      hints=["printf() can fail, and often only when the buffer is written "
             "out.",
             "Test fflush(stdout) and ferror(stdout) before the end; say what "
             "failed and end with status 1."],
      by_hand=SEND.replace("FILE;", "FILE > /dev/full;"))
def test_output_full(stage, launch_client):
    """Answers that can't be written to standard output are a failure.

    Whoever keeps them in a file believes that these are all.
    """
    client = launch_client(stdout="/dev/full",
                           file=stage.make_file("sent.bin", CONTENT))
    try:
        serve(client, CONTENT).close()
    except Failure:
        stage.wait_end(client.program)      # at the first answer, maybe
    expect_failure_told(client, "standard output is full")


@case("upload/progress", **FILE, level=SHOULD,
      source="isatty(3); lesson 07: the progress",
      hints=["A large file takes minutes. What does the person at the "
             "terminal see?",
             "If isatty(STDOUT_FILENO): print the share in per cent now and "
             "then and at the end, on one line (\\r), and flush."],
      by_hand="truncate -s 500M FILE\n" + SEND)
def test_progress(stage, launch_client):
    """At a terminal the progress is shown, up to 100 %.

    Whoever waits wants to know whether anything still moves. In a file or a
    pipe the same text would only be in the way, and is not written.
    """
    path = stage.make_file("sent.bin", CONTENT)
    client = launch_client(file=path)
    serve(client, CONTENT).close()
    client.stage.wait_end(client.program)
    if b"%" in client.program.stdout:
        raise Failure("output", "the progress is written to a file as well: "
                      f"{shorten(client.program.stdout, 200)}")
    master, slave = os.openpty()
    with open(master, "rb", buffering=0) as terminal:
        try:
            client = launch_client(file=path, stdout=os.ttyname(slave))
            serve(client, CONTENT).close()
            client.stage.wait_end(client.program)
        finally:
            os.close(slave)
        shown = screen(terminal)
    if b"100" not in shown or b"%" not in shown:
        raise Failure("output", "the terminal never showed 100 %",
                      f"it showed {shorten(shown, 300)}")


def screen(terminal):
    """All that came to a terminal which no program has open any more."""
    shown = b""
    try:
        while piece := terminal.read(65_536):
            shown += piece
    except OSError as error:
        if error.errno != errno.EIO:        # which is the end of a terminal
            raise
    return shown


@case("upload/header", **FILE, level=SHOULD, defects=(11,),
      source="lesson 07, the header; FIPS 180-4",
      hints=["The header has numbers of two and eight bytes. Which byte comes "
             "first?",
             "-D: send NUL, version 1, the length of the name, the size (the "
             "byte that counts most first), the SHA-256 digest and the name; "
             "expect \"[+] server : header query ok\"."],
      by_hand="build/lessons/07-file-transfer/server-11-robust -P PORT\n"
              "# in a second terminal:\n"
              "CLIENT -D -H HOST -P PORT -F FILE; echo $?")
def test_header(stage, launch_client):
    """With -D a header takes the place of name and size.

    It tells the lengths of name and data and the digest of the data. So the
    server knows where each ends, and whether the data are those that were
    read.
    """
    path = stage.make_file("with a header.bin", CONTENT)
    client = launch_client(file=path, words=("-D",))
    peer = client.accept()
    peer.expect(header(b"with a header.bin", CONTENT,
                       hashlib.sha256(CONTENT).digest()))
    client.quiet()
    peer.send(HEADER_OK)
    peer.expect(CONTENT)
    peer.send(FILE_OK)
    peer.until_end()
    peer.close()
    client.expect_exit(0, "the file was taken")
