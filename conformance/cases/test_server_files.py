"""A server that files are sent to: is what it stores what was sent?"""
import signal
import socket

from sockstep.case import SHOULD, case
from sockstep.data import pattern, word
from sockstep.failure import Failure, within
from sockstep.transcript import count, shorten
from sockstep.uploads import (
    FILE_OK, NAME_OK, REFUSED, SIZE_OK, announce, attempt, expect_refused,
    expect_stored, upload)

GROUP = "Files"
#: Threads and processes that a server may have, however many clients come.
MOST_TASKS = 500
FILE = dict(role="server", group=GROUP, services=("file",))
OLD = b"The file that was good before: %s\n" % word()
NEW = pattern(5000, 7)
#: By hand, from another folder; `sha256sum` of both files must agree.
SEND = "python3 conformance/peers/file_client.py HOST PORT FILE\n"
#: A client by hand; `s` is the connection.
TALK = """python3 -c "import socket, struct, time
s = socket.create_connection(('HOST', PORT))
s.sendall(b'x.bin'); s.recv(99); s.sendall(b'%d'); s.recv(99)
%s"
ls -la      # in the server's folder"""


@case("files/stored", **FILE, source="document 004, the server",
      hints=["What came as the name is the file's name, and what came after "
             "the size is its content.",
             "Write the bytes as they came, with write() or in binary mode; "
             "none of them has a meaning."],
      by_hand=SEND)
def test_stored(server):
    """A file is stored under its name, byte for byte.

    Every value of a byte occurs in files, NUL and newline included, and names
    hold blanks and letters of every language.
    """
    content = word() + bytes(range(256)) * 9
    upload(server, "a file für 한국.bin".encode(), content)
    expect_stored(server, {"a file für 한국.bin": content})


@case("files/sizes", **FILE, defects=(6, 111),
      source="recv(2), RETURN VALUE; document 004: recv(1024)",
      hints=["Which sizes are special to your program? Those of its buffers.",
             "Write as many bytes as recv() returned, and go on until all "
             "that were announced are there."],
      by_hand="head -c 1024 /dev/zero > FILE; " + SEND)
def test_sizes(server):
    """A file of any size is stored whole, also one that just fills a buffer.

    A loop that ends when a read brings less than the buffer's size, or that
    waits for one more, fails where the file ends with the buffer.
    """
    files = {}
    # The first few differ in their first digits: the size is text.
    for size in (1, 9, 23, 57, 79, 1023, 1024, 1025, 4096, 8191, 65_536,
                 65_537, 300_000):
        name = f"{size}.bin"
        files[name] = pattern(size, size)
        with within(f"a file of {count(size, 'byte')}"):
            upload(server, name.encode(), files[name]).close()
    expect_stored(server, files)


@case("files/split", **FILE, defects=(1, 3),
      source="tcp(7): a stream has no boundaries; RFC 9293 3.8",
      hints=["One recv() brings what has come so far, not what was sent.",
             "Call recv() in a loop until the announced size is there."],
      by_hand=TALK % (9, """
for piece in (b'abc', b'def', b'ghi'): s.sendall(piece); time.sleep(0.3)"""))
def test_split(server):
    """Data that come in several pieces are stored whole.

    The network cuts a file into pieces as it likes, and waits between them.
    """
    peer = announce(server, b"split.bin", len(NEW))
    for begin, end in ((0, 1), (1, 1030), (1030, 4999), (4999, 5000)):
        peer.send(NEW[begin:end])
        server.quiet()
        if peer.ended():
            break                       # a part was enough for it
    peer.half_close()
    peer.expect(FILE_OK)
    expect_stored(server, {"split.bin": NEW})


@case("files/last-answer", **FILE, defects=(124,),
      source="document 004: the server says when the transfer is finished, "
             "which its client does not wait for",
      hints=["How does your server know that the last byte has come? A client "
             "that waits for your answer sends no more, and ends nothing.",
             "Count: the size was announced before the data. Take so many "
             "bytes, then answer."],
      by_hand=TALK % (5, "s.sendall(b'12345'); print(s.recv(99))"))
def test_last_answer(server):
    """The last answer comes when all announced bytes are there.

    A client that wants to know whether its file has arrived waits for that
    answer. If the server waits for the end of the stream, both wait for ever.
    """
    peer = announce(server, b"waits.bin", len(NEW))
    peer.send(NEW)
    peer.expect(FILE_OK)
    expect_stored(server, {"waits.bin": NEW})


@case("files/empty", **FILE, defects=(83, 111),
      source="POSIX.1-2017 XBD 3.164: a file may be empty",
      hints=["How many times must your server call recv() for 0 bytes?",
             "A loop that runs while bytes are missing does not run at all. "
             "The file is made all the same."],
      by_hand="touch FILE; " + SEND)
def test_empty(server):
    """An empty file is stored like any other.

    Its size is 0, so no data come at all. That is neither an error nor the
    end of the talk: the last answer is due at once.
    """
    peer = announce(server, b"empty." + word(), 0)
    peer.expect(FILE_OK)
    expect_stored(server, {"empty." + word().decode(): b""})


@case("files/more-bytes", **FILE, defects=(106,),
      source="the wire contract: the announced size ends the data",
      hints=["The client said how many bytes the file has. What if more come?",
             "Never ask recv() for more than is still missing."],
      by_hand=TALK % (3, "s.sendall(b'onetwo')"))
def test_more_bytes(server):
    """Bytes behind the announced size are no part of the file.

    They may be a mistake of the client or an attack. A server that stores
    them keeps a limit on sizes for those only who tell the truth.
    """
    attempt(server, b"more.bin", b"5000", NEW + b"more of it")
    stored = server.files().get("more.bin", NEW)
    if stored != NEW:
        raise Failure("wrong-bytes", f"5,000 bytes were announced, and the "
                      f"file has {len(stored):,}")


@case("files/answer-arrives", **FILE, level=SHOULD, defects=(36,),
      source="RFC 9293 3.6.1; RFC 2525 2.17: a close with unread data sends a "
             "reset; close(2)",
      hints=["close() sends a reset if bytes that came were never read, and "
             "the reset can overtake the answer.",
             "After the answer: shutdown(SHUT_WR), then recv() until it "
             "returns 0 or a time limit is over, then close()."],
      by_hand=TALK % (3, """
s.sendall(b'x' * 99999); time.sleep(0.3)
print(s.recv(99), s.recv(99))       # ConnectionResetError shows the fault"""))
def test_answer_arrives(server):
    """The end is in order also where bytes of the client are left unread.

    A client that is refused is often still sending. A reset then throws away
    the very answer that says why.
    """
    peer = announce(server, b"more.bin", len(NEW))
    server.freeze()
    peer.send(NEW + pattern(8000))
    server.thaw()
    peer.expect(FILE_OK)
    server.quiet()
    peer.expect_no_reset()
    peer.half_close()
    peer.expect_end()
    expect_stored(server, {"more.bin": NEW})


@case("files/cut-off", **FILE, defects=(105, 106),
      source="recv(2): 0 is the end of the stream; rename(2); unlink(2)",
      hints=["The stream has ended, and fewer bytes came than were announced. "
             "What is in the folder now?",
             "Write to a file with another name. rename() it when it is "
             "whole, unlink() it on every other way."],
      by_hand=TALK % (9, "s.sendall(b'half')"))
def test_cut_off(server):
    """An upload that ends too early leaves nothing behind.

    A part of a file looks like a whole one to whoever finds it. It gets no
    last answer, which would say that all is well.
    """
    for offset in (0, 1, 1024, 4999):
        with within(f"after {offset:,} of 5,000 bytes"):
            peer = announce(server, b"cut.bin", len(NEW))
            peer.send(NEW[:offset])
            peer.half_close()
            expect_refused(peer.until_end(), FILE_OK, "the stream ended")
            peer.close()
            expect_stored(server, {})


@case("files/reset", **FILE, defects=(37, 105),
      source="recv(2), ECONNRESET; unlink(2)",
      hints=["recv() fails when the client has crashed. Which ways out of "
             "your function take the half file away?",
             "Let every failure come by one unlink()."],
      by_hand=TALK % (9, """s.sendall(b'half'); time.sleep(0.3)
s.setsockopt(1, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()"""))
def test_reset(server):
    """An upload that breaks off by a reset leaves nothing behind.

    That is how a client ends that crashed, and the network may do it at any
    byte.
    """
    for offset in (0, 1, 4999):
        with within(f"after {offset:,} of 5,000 bytes"):
            peer = announce(server, b"reset.bin", len(NEW))
            peer.send(NEW[:offset])
            server.quiet()
            peer.reset()
            server.expect_alive("a reset")
            expect_stored(server, {})


@case("files/keeps-old", **FILE, defects=(107,),
      source="rename(2): newpath is replaced atomically; open(2), O_TRUNC",
      hints=["A good file of that name is there already. When is it gone?",
             "O_TRUNC empties it before the new one has come. Only rename() "
             "puts one whole file in the place of another."],
      by_hand=TALK % (9, "s.sendall(b'half')") +
      "      # after a good upload of x.bin")
def test_keeps_old(server):
    """A file that is there is kept until the new one is whole.

    Otherwise a broken connection costs the user both: the new file did not
    come, and the old one is gone.
    """
    upload(server, b"good.txt", OLD).close()
    peer = announce(server, b"good.txt", len(NEW))
    peer.send(NEW[:3000])
    expect_stored_as(server, "good.txt", OLD, "while the new one comes")
    peer.half_close()
    peer.until_end()
    peer.close()
    expect_stored(server, {"good.txt": OLD})


def expect_stored_as(server, name, content, when):
    server.quiet()
    found = server.files().get(name)
    if found != content:
        raise Failure("wrong-bytes", f"{name!r} is no longer the good file "
                      f"{when}", f"it holds {shorten(found or b'')}")


@case("files/overwrite", **FILE, source="rename(2); open(2), O_TRUNC",
      hints=["The new file is shorter than the old one. What is behind its "
             "last byte?",
             "Truncate the file (O_TRUNC), or better rename() a new one over "
             "it."],
      by_hand=SEND + "# twice, with a shorter FILE the second time")
def test_overwrite(server):
    """A second upload of the same name takes the place of the first.

    Nothing of the old content may be left, also where the new one is shorter.
    """
    upload(server, b"same.txt", NEW).close()
    upload(server, b"same.txt", OLD).close()
    expect_stored(server, {"same.txt": OLD})


@case("files/same-name", **FILE, clients=("many",), defects=(108,),
      source="open(2), O_EXCL; rename(2)",
      hints=["Two clients send a file of the same name at the same time. "
             "Into how many files do their bytes go?",
             "Give each upload a file of its own, with a name that no other "
             "has (O_EXCL, mkstemp), and rename() it at the end."],
      by_hand="two clients that each send half, wait, and send the rest")
def test_same_name(server):
    """Two uploads of one name at once give one of the files, whole.

    Which of them is left is chance. Bytes of both in one file are a file
    that nobody sent.
    """
    contents = (pattern(6000, 1), pattern(5000, 2))
    peers = [announce(server, b"both.bin", len(content))
             for content in contents]
    for begin, end in ((0, 2500), (2500, 6000)):
        for peer, content in zip(peers, contents):
            peer.send(content[begin:end])
            server.quiet()
    for peer in peers:
        peer.half_close()
        peer.expect(FILE_OK)
    server.quiet()
    left = server.files().get("both.bin", b"")
    if left not in contents:
        raise Failure("wrong-bytes", f"the file has {len(left):,} bytes, and "
                      "they are those of neither upload")
    expect_stored(server, {"both.bin": left})


@case("files/there-first", **FILE, defects=(115,),
      source="setbuf(3): stdio keeps data in a buffer; rename(2); close(2)",
      hints=["The last answer says that the file is there. Is it, at that "
             "moment, under its name and with its last byte?",
             "First write, fsync() and close() the file and rename() it, "
             "then answer. fclose() after the answer is too late."],
      by_hand="strace -f -e trace=write,rename,sendto SERVER -P PORT\n"
      "# and in a second terminal:\n" + SEND)
def test_there_first(launch_server):
    """The last answer comes after the file is there, whole, under its name.

    Whoever gets it may remove the original. The server is stopped here just
    before it sends it.
    """
    server = launch_server(plan="send@3=signal:SIGSTOP")
    peer = announce(server, b"first.bin", len(NEW))
    peer.send(NEW)
    peer.half_close()
    server.wait_frozen()
    found = server.files().get("first.bin")
    if found != NEW:
        told = "the file is not there under its name" if found is None else \
            f"the file has {len(found):,} of 5,000 bytes"
        raise Failure("call", f"the last answer is about to be sent, and "
                      f"{told}")
    server.thaw()
    peer.expect(FILE_OK)


@case("files/sync-error", **FILE, level=SHOULD, defects=(110,),
      source="fsync(2), EIO: written data may be lost; write(2), NOTES",
      hints=["write() only hands data to the kernel. Which call says that "
             "they are on the disk?",
             "Call fsync() before rename(), and look at its result: after an "
             "error the file is not to be trusted."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_FAULTS='sync@*=EIO' \\
          SERVER -P PORT
      # in a second terminal, it must be refused:
      """ + SEND)
def test_sync_error(launch_server):
    """A file that can't be brought to the disk is refused, and not kept.

    The kernel writes to the disk long after write(). fsync() waits for it and
    is the only call that tells an error of the disk.
    """
    server = launch_server(plan="sync@*=EIO")
    server.program.plan_may_miss = True
    came = attempt(server, b"sync.bin", b"5000", NEW)
    if FILE_OK in came:
        raise Failure("call", "the server says that the file is stored "
                      + ("although fsync() failed"
                         if any(call.injected
                                for call in server.program.calls())
                         else "and never called fsync()"))
    expect_stored(server, {})


@case("files/close-error", **FILE, level=SHOULD, defects=(110,),
      source="close(2), NOTES: an error of an earlier write may be told there",
      hints=["close() has a result. Some file systems tell an error of "
             "writing only there.",
             "close() the file before you answer, and look at the result."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='closefile@*=late:EIO' SERVER -P PORT
      # in a second terminal, it must be refused:
      """ + SEND)
def test_close_error(launch_server):
    """A file whose close() fails is refused.

    On a network's file system or under a quota, close() may be the first call
    that tells that the data did not get there. After the last answer it is
    too late for that.
    """
    server = launch_server(plan="closefile@*=late:EIO;send@3=signal:SIGSTOP")
    server.program.plan_may_miss = True
    peer = announce(server, b"close.bin", len(NEW))
    peer.send(NEW)
    peer.half_close()
    server.wait_frozen()
    place = str(server.program.workplace)
    still_open = [target for target in server.program.descriptors().values()
                  if target.startswith(place)]
    server.thaw()
    came = peer.until_end()
    if FILE_OK not in came:
        return
    if still_open:
        raise Failure("call", "the file is still open when the last answer is "
                      "sent: nobody will hear of an error of its close()")
    server.program.plan_may_miss = False    # it must have failed, then
    if any(call.cls == "closefile" for call in server.program.calls()):
        raise Failure("call", "the server says that the file is stored "
                      "although close() failed")


@case("files/disk-full", **FILE, defects=(109,),
      source="write(2), ENOSPC and EFBIG; getrlimit(2), RLIMIT_FSIZE; "
             "signal(7), SIGXFSZ",
      hints=["write() can fail, or take less than it was given. What has the "
             "client been told by then?",
             "Treat it like a broken connection: unlink the half file and "
             "send no last answer. Ignore SIGXFSZ, so that write() fails with "
             "EFBIG instead of ending the program."],
      by_hand="(ulimit -f 64; exec SERVER -P PORT)\n"
      "# in a second terminal, with a FILE of 100,000 bytes:\n" + SEND)
def test_disk_full(launch_server):
    """Where there is no room for a file it is refused, and nothing is left.

    A disk can be full at any byte. One file that is too large must neither
    pass for stored nor cost the others: the next small one is served.
    """
    server = launch_server(fsize=65_536)
    came = attempt(server, b"large.bin", b"100000", pattern(100_000))
    expect_refused(came, FILE_OK, "a file larger than there is room was sent")
    server.expect_alive("a file larger than there is room for")
    upload(server, b"small.bin", NEW)
    expect_stored(server, {"small.bin": NEW})


@case("files/bad-size", **FILE, defects=(10,),
      source="strtol(3); atoi(3) can't tell an error; CERT ERR34-C",
      hints=["The size is text that somebody else wrote. Which texts are no "
             "number of bytes?",
             "Only digits: look at the first byte, at where strtoll() stopped "
             "and at errno. Answer the size only after that."],
      by_hand="""(printf x.bin; sleep 1; printf 12abc; sleep 1) | nc HOST PORT
                 # no "filesize query ok" may come""")
def test_bad_size(server):
    """What is no number of bytes gets no answer that says ok.

    Without a size nobody knows where the file ends. A negative or overflowing
    one, taken as it is, makes a loop without end or a buffer without room.
    """
    for text in (b"abc", b"-1", b"12x", b" 5", b"+5", b"1e3",
                 b"18446744073709551621"):
        with within(f"the size {shorten(text)}"):
            came = attempt(server, b"size.bin", text, b"12345")
            expect_refused(came, SIZE_OK, "it was sent")
            expect_stored(server, {})


@case("files/size-limit", **FILE, defects=(10,),
      source="posix_fallocate(3), EFBIG and ENOSPC; CWE-770",
      hints=["Is there a size to which your server says no?",
             "Compare with a limit before you answer the size; "
             "posix_fallocate() then tells whether there is room."],
      by_hand="""(printf x.bin; sleep 1; printf 9223372036854775807; sleep 1) |
                 nc HOST PORT      # no "filesize query ok" may come""")
def test_size_limit(server):
    """A size that can't be stored is refused before the data come.

    No disk has room for 8 EiB. A client that is told so at once need not send
    in vain, and one client can't fill the disk of all.
    """
    came = attempt(server, b"limit.bin", b"9223372036854775807")
    expect_refused(came, SIZE_OK, "8 EiB were announced")
    expect_stored(server, {})


@case("files/refusal-told", **FILE, level=SHOULD,
      source="the wire contract: [-] server : and the reason",
      hints=["The client waits for an answer. What does it learn when you "
             "just close?",
             'Send "[-] server : " and the reason before the end of the '
             "stream, as the document's own answers begin with [+]."],
      by_hand="""(printf ..; sleep 1) | nc HOST PORT
                 (printf x.bin; sleep 1; printf abc; sleep 1) | nc HOST PORT
                 # each must print [-] server : and a reason""")
def test_refusal_told(launch_server):
    """A refused upload is told so, with the reason, before the end.

    A connection that just ends says nothing: was it the name, the size, the
    disk or the network?
    """
    server = launch_server(fsize=65_536)
    for what, talk in (("the name ..", (b"..",)),
                       ("the size abc", (b"x.bin", b"abc")),
                       ("a file larger than there is room for",
                        (b"x.bin", b"100000", pattern(100_000)))):
        came = attempt(server, *talk)
        _before, told, why = came.partition(REFUSED)
        if not told or not why.strip():
            raise Failure("wrong-bytes", f"{what}: {shorten(REFUSED)} and the "
                          f"reason are due; it got {shorten(came) or 'nothing'}")


@case("files/descriptors", **FILE, defects=(54, 113),
      source="close(2); proc(5), /proc/PID/fd",
      hints=["How many descriptors has one upload, and which of them are "
             "closed when it fails half-way?",
             "The connection, the file, and a pipe if you have one: let every "
             "way out come by their close()."],
      by_hand="ls /proc/PID/fd | wc -l, then refused and broken uploads, "
              "then the same again: it must be the same number")
def test_descriptors(server):
    """Uploads that fail leave no descriptor open.

    A server has about a thousand. If each failed upload costs one, it can
    take no more after an afternoon of bad connections.
    """
    def failures(number):
        for _ in range(number):
            attempt(server, b"..")
            attempt(server, b"x.bin", b"abc")
            attempt(server, b"x.bin", b"5000", b"half")
            announce(server, b"x.bin", 5000).reset()
        server.expect_alive("uploads that fail")
        return len(server.program.descriptors())

    before = failures(1)
    after = failures(4)
    if after > before:
        raise Failure("leak", f"{after - before} more descriptors after 16 "
                      f"more uploads that failed: {before}, then {after}")


@case("files/killed", **FILE, defects=(105,),
      source="kill(2), SIGKILL; rename(2), atomicity; unlink(2)",
      hints=["SIGKILL leaves no time to tidy up. What does the folder look "
             "like at that moment?",
             "As long as the data are not whole they must lie under another "
             "name: O_TMPFILE, or a name that begins with a dot."],
      by_hand=TALK % (9, "s.sendall(b'half'); time.sleep(9)") +
      "     # and kill -KILL the server meanwhile")
def test_killed(launch_server):
    """A server that is killed during an upload leaves no half file.

    Power fails, memory runs out. Whatever has the file's name afterwards is
    whole: the old one or the new one. (Under another name a rest may stay.)
    """
    for offset in (0, 1, 3000, 4999):
        server = launch_server()
        upload(server, b"old.txt", OLD).close()
        for name in (b"old.txt", b"new.bin"):
            announce(server, name, len(NEW)).send(NEW[:offset])
        server.quiet()
        server.kill()
        with within(f"killed after {offset:,} of 5,000 bytes"):
            expect_stored_as(server, "old.txt", OLD, "after that")
            if "new.bin" in (found := server.files()):
                raise Failure("wrong-bytes", "there is a file 'new.bin' with "
                              f"{len(found['new.bin']):,} bytes")


@case("files/term-finishes", **FILE, defects=(30,),
      source="the program contract: an orderly end finishes what is under way "
             "within one second; signal(7)",
      hints=["SIGTERM came in the middle of a file. What does its client get?",
             "Close the listening socket, go on with the uploads under way "
             "for at most a second, then end with status 0."],
      by_hand=TALK % (9, "s.sendall(b'half'); time.sleep(0.5)\n"
                      "# in this half second: kill the server\n"
                      "s.sendall(b' done'); print(s.recv(99))"))
def test_term_finishes(server):
    """An upload that is under way at SIGTERM is finished.

    Whoever stops a server wants no files to be lost. A client that goes on at
    once gets its last answer, and its file is there.
    """
    peer = announce(server, b"term.bin", len(NEW))
    peer.send(NEW[:3000])
    server.quiet()
    server.program.ended_by_harness = True
    server.program.signal(signal.SIGTERM)
    server.quiet()
    peer.send(NEW[3000:])
    peer.expect(FILE_OK)
    peer.close()
    server.expect_ended("SIGTERM during an upload")
    expect_stored(server, {"term.bin": NEW})


@case("files/term-drops", **FILE, defects=(29, 30),
      source="the program contract: within one second; unlink(2)",
      hints=["The client says nothing more. How long does your server wait "
             "after SIGTERM, and what is in the folder then?",
             "Set a deadline when the signal comes; after it give the upload "
             "up as if its client had broken off."],
      by_hand=TALK % (9, "s.sendall(b'half'); time.sleep(9)") +
      "     # and kill the server meanwhile; it must end")
def test_term_drops(server):
    """An upload that does not go on can't hold up the end by SIGTERM.

    The server waits a second, takes the half file away and ends with
    status 0.
    """
    peer = announce(server, b"term.bin", len(NEW))
    peer.send(NEW[:3000])
    server.quiet()
    server.expect_orderly_end(when="during an upload that stands still")
    expect_stored(server, {})


@case("files/many-at-once", **FILE, clients=("many",), defects=(69, 74, 77),
      source="pthreads(7): threads share all memory but their stacks; "
             "document 004: a thread for each client",
      hints=["Which variables of your program does each upload have for "
             "itself, and which do all share?",
             "Keep name, size, buffer and descriptor of an upload in one "
             "structure, or on its thread's stack."],
      by_hand="for n in $(seq 20); do " + SEND.strip() + " & done; wait")
def test_many_at_once(server):
    """Many uploads at once give many files, each with its own bytes.

    They are opened here one after the other, and their data come in turns, so
    that all of them are under way at the same time.
    """
    files = {f"{number}.bin": pattern(3000 + number, number)
             for number in range(20)}
    peers = [announce(server, name.encode(), len(content))
             for name, content in files.items()]
    for begin, end in ((0, 1500), (1500, 4000)):
        for peer, content in zip(peers, files.values()):
            peer.send(content[begin:end])
        server.quiet()
    for peer in peers:
        peer.half_close()
        peer.expect(FILE_OK)
    expect_stored(server, files)


@case("files/bounded", role="server", group="Many clients", services=("file",),
      clients=("many",), defects=(63, 79),
      source="pthread_create(3), EAGAIN; pthreads(7); setrlimit(2), "
             "RLIMIT_NPROC",
      hints=["600 clients connect and say nothing. How many threads or "
             "processes has your server then?",
             "Count the clients that are being served. At the limit wait until "
             "one leaves before you call accept() again: the others wait in "
             "the queue of the listening socket."],
      by_hand="""
      python3 -c "import socket
      s = [socket.create_connection(('HOST', PORT)) for n in range(600)]
      input('look at the threads: ls /proc/PID/task | wc -l')" """)
def test_bounded(launch_server):
    """However many clients come, the server keeps within its limits.

    At most 500 threads and processes are allowed here: each costs memory, and
    a machine has an end. Who is over the limit waits, and is served when others
    have left.
    """
    server = launch_server(nofile=2048)
    clients = []                        # no peers: so many take time to watch
    while len(clients) < 600 and not waiting(server):
        client = socket.socket()
        server.stage.sockets.append(client)
        client.settimeout(5)
        if client.connect_ex(server.address):
            break                       # it has ended, or takes no more
        clients.append(client)
    server.expect_alive(f"{len(clients)} clients at once")
    tasks = len(server.program.waits() or ())
    if tasks > MOST_TASKS:
        raise Failure("leak", f"600 silent clients cost {tasks} threads and "
                      "processes: there is no limit")
    for client in clients:
        client.close()
    server.expect_alive(f"the end of {len(clients)} clients")
    upload(server, b"after.bin", NEW)
    expect_stored(server, {"after.bin": NEW})


def waiting(server):
    """Whether a client is left in the queue by a server that rests."""
    stage = server.stage

    def queue():
        return any(row.receive_queue for row in stage.diag.listeners()
                   if row.local[1] == server.port)

    for _ in range(100):                    # it is at work, most likely
        if not queue():
            return False
        server.program.pace(0.001)
    stage.wait(lambda: not queue() or
               stage.quiet_now(server.program, timers=True), None,
               "clients wait in the queue, and nobody accepts them",
               program=server.program)
    return queue()


@case("files/creation-failed", role="server", group="Many clients",
      services=("file",), clients=("many",), defects=(64,),
      source="pthread_create(3), EAGAIN; fork(2), EAGAIN",
      hints=["pthread_create() returns its error. Whose connection is open at "
             "that moment?",
             "Close that one connection and go on with accept()."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='thread@1=EAGAIN;fork@1=EAGAIN' SERVER -P PORT
      # in a second terminal, twice; the second one must be served:
      """ + SEND)
def test_creation_failed(launch_server):
    """A thread or process that can't be made costs one client at most.

    There is no room for one more at that moment. The server goes on, and that
    client sees the end of its stream, or is served later.
    """
    server = launch_server(plan="thread@1=EAGAIN;fork@1=EAGAIN", ready=False)
    server.program.plan_may_miss = True
    server.address = server.stage.wait_listening(server.program).local
    first = server.connect()
    first.send(b"first.bin")
    server.expect_alive("a thread that could not be made")
    upload(server, b"second.bin", NEW)
    server.stage.wait(lambda: first.ended() or NAME_OK in first.got, first,
                      "the client for whom no thread or process could be made "
                      "is neither served nor told, and its connection stays "
                      "open", program=server.program)
    expect_stored(server, {"second.bin": NEW})
    server.stage.wait(lambda: first.ended() or first.got, first,
                      "the client for whom no thread or process could be made "
                      "is neither served nor told, and its connection stays "
                      "open", program=server.program)
