"""A server that files are sent to: where does it store them?"""
from sockstep.case import case
from sockstep.data import pattern
from sockstep.failure import Failure, within
from sockstep.transcript import shorten
from sockstep.uploads import (
    NAME_OK, attempt, expect_refused, expect_stored, tree, upload)

FILE = dict(role="server", group="Files", services=("file",))
CONTENT = pattern(500, 3)
CANARY = b"nobody may touch this\n"


def upload_of(name):
    """By hand: what comes when a file of that name is sent."""
    return (f"(printf '{name}'; sleep 1; printf 4; sleep 1; printf data) |\n"
            "    nc HOST PORT; ls -laR ..      # from the server's folder")


@case("files/traversal", **FILE, defects=(104,),
      source="CWE-22; path_resolution(7)",
      hints=["The client chooses the name. What does open() do with "
             "\"../x\", and what with \"/etc/passwd\"?",
             "Take what is behind the last slash (strrchr), and refuse it if "
             "it is empty, \".\" or \"..\"."],
      by_hand=upload_of("../canary.txt"))
def test_traversal(stage, launch_server):
    """No name makes the server write outside its folder.

    A client that may choose any path can replace the server's own program, or
    any other file of its user. Folders above and absolute paths are tried, and
    what leads above when a part of it has been taken away.
    """
    canary = stage.make_file("canary.txt", CANARY)
    for name in (b"../canary.txt", str(canary).encode(), b"a/../../canary.txt",
                 b"./../canary.txt", b"....//canary.txt",
                 b"../../files/canary.txt", b"../fresh.txt"):
        server = launch_server()
        outside = server.program.workplace.parent
        (outside / "canary.txt").write_bytes(CANARY)
        attempt(server, name, b"500", CONTENT)
        with within(f"the name {shorten(name)}"):
            for place in (canary, outside / "canary.txt"):
                if place.read_bytes() != CANARY:
                    raise Failure("wrong-bytes", "a file outside the server's "
                                  "folder was overwritten")
            if (outside / "fresh.txt").exists() or len(tree(canary.parent)) > 1:
                raise Failure("leak", "a file was made outside the server's "
                              "folder")
            server.done()


@case("files/symlink", **FILE, defects=(104,),
      source="symlink(7); open(2), O_NOFOLLOW and O_EXCL; rename(2)",
      hints=["The folder has a symbolic link of that name. Where do the bytes "
             "go that you write to it?",
             "rename() replaces the link itself; O_NOFOLLOW makes open() "
             "fail."],
      by_hand="ln -s ../canary.txt link.txt\n" + upload_of("link.txt"))
def test_symlink(stage, server):
    """A symbolic link in the folder does not lead outside.

    open() follows it and writes where it points to. The link may be replaced
    by the file, or the name refused; what it points to stays as it is.
    """
    canary = stage.make_file("canary.txt", CANARY)
    (server.program.workplace / "link.txt").symlink_to(canary)
    attempt(server, b"link.txt", b"500", CONTENT)
    if canary.read_bytes() != CANARY:
        raise Failure("wrong-bytes", "the file outside, to which a symbolic "
                      "link of that name points, was overwritten")


@case("files/folder-in-name", **FILE,
      source="document 004: its client sends the path that it was given",
      hints=["The document's client sends \"photos/cat.jpg\" as the name. "
             "Which part of it matters to the server?",
             "Store the file under what is behind the last slash."],
      by_hand=upload_of("photos/cat.jpg"))
def test_folder_in_name(server):
    """A path is stored under its last part.

    The document's client sends the whole path of its file, and its folders
    are not those of the server.
    """
    files = {}
    for name in ("photos/cat.jpg", "/home/someone/dog.jpg"):
        with within(f"the name {shorten(name.encode())}"):
            came = attempt(server, name.encode(), b"500", CONTENT)
            if NAME_OK not in came:
                raise Failure("wrong-bytes", "it was not taken: it got "
                              f"{shorten(came) or 'nothing'}")
            files[name.rpartition("/")[2]] = CONTENT
            expect_stored(server, files)


@case("files/long-name", **FILE, defects=(114,),
      source="pathconf(3), _PC_NAME_MAX: 255 bytes on Linux",
      hints=["How long may a name be on your file system?",
             "Make the buffer at least NAME_MAX + 1 bytes large."],
      by_hand=upload_of("a long name, 255 bytes"))
def test_long_name(server):
    """A name as long as the file system allows is taken whole.

    A buffer that is too small cuts it, and two files become one.
    """
    name = pattern(255, 5)
    upload(server, name, CONTENT)
    expect_stored(server, {name.decode(): CONTENT})


@case("files/bad-name", **FILE, defects=(104, 114),
      source="path_resolution(7): \"..\", and names that end with a slash; "
             "open(2), ENAMETOOLONG, EISDIR; CWE-626: a NUL in a name",
      hints=["Which names can no file in your folder have? When do you find "
             "out?",
             "Look at the name before you answer it: empty, \".\", \"..\", "
             "more than 255 bytes, or with a NUL, which ends a C string too "
             "early."],
      by_hand=upload_of("..") + "\n# no \"filename query ok\" may come")
def test_bad_name(server):
    """A name that no file can have gets no answer that says ok.

    After an ok the client sends its data, and they can only get lost, or end
    under another name than it believes.
    """
    for name in (b".", b"..", b"dir/..", b"dir/", b"/", b"cut\0off.txt",
                 b"x" * 256):
        with within(f"the name {shorten(name)}"):
            came = attempt(server, name, b"500", CONTENT)
            expect_refused(came, NAME_OK, "it was sent")
            expect_stored(server, {})


@case("files/log-control", **FILE, defects=(114,),
      source="console_codes(4); CWE-117 and CWE-150",
      hints=["The name came from somebody else. What does your terminal do "
             "with its bytes when the server prints them?",
             "Refuse names with bytes below 32 or with 127, or print them as "
             "\\x1b and the like."],
      by_hand=upload_of("\\033[2Jnothing to see\\nhere"))
def test_log_control(server):
    """No control character of a name is printed as it is.

    ESC can clear the screen of whoever reads the log, or change what it says;
    a newline in a name makes a line that the server never wrote.
    """
    for name in (b"a\x1b[2Jb", b"a\nserver: all is well: truly", b"all\rno",
                 b"del\x7f"):
        attempt(server, name, b"500", CONTENT)
    attempt(server, b"\x1b[2J/..")
    for place, text in (("output", server.program.stdout),
                        ("error", server.program.stderr)):
        if any(byte in text for byte in b"\x1b\x7f\r") or \
                b"\nserver: all is well" in text:
            raise Failure("output", f"standard {place} holds control "
                          "characters of a file's name",
                          f"it says: {shorten(text, 200)}")
