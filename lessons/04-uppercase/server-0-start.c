/*
 * The starting point of your own upper-case server: the options are read, the
 * rest is yours. Clients are served one after the other. A message ends at its
 * newline or at the client's end of stream. It goes back in the capitals of
 * Unicode, and what is no UTF-8 goes back as it came.
 *
 * Run: build/lessons/04-uppercase/server-0-start
 *      and, in a second terminal, nc 127.0.0.1 12000
 *
 * Still wrong: everything after the options (1 and up).
 *
 * For TODO 4 the program must be linked with libunistring. A line in this
 * comment asks for that: " * Links: -lunistring".
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "12000"

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
};

static const char *program = "server";

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

static bool is_port(const char *text)
{
    /* strtol(3) allows blanks and a sign before the digits; a port does not. */
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    long port = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && port <= 65535;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = NULL, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg; /* "0": the kernel chooses one */
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT]\n", program);
        exit(2);
    }
    return options;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    (void)options; /* Take this line out when you use them. */

    /*
     * TODO 1: a listening socket, and accept(2) for ever, as in lesson 03. You
     * may use the kit's library: #include "ss_listen.h" and "ss_io.h". Which
     * errors of a client may end your server?
     */

    /*
     * TODO 2: receive to the newline or to the end of the stream, and answer
     * each piece at once: the document's client sends no newline and waits.
     * What does your server need memory for?
     */

    /*
     * TODO 3: toupper(3) for each byte, with a result that is right for
     * English. What does its argument have to be?
     */

    /*
     * TODO 4: u8_toupper() of unicase.h in place of toupper(3). How many bytes
     * may the capitals of 1024 bytes have? Whose language is it?
     */

    /*
     * TODO 5: a character of UTF-8 has up to four bytes, and a piece may end
     * after the first. u8_mbtoucr() of unistr.h tells "wrong" from "not
     * complete yet". Which bytes have to wait for the next piece?
     */

    /*
     * TODO 6: u8_check() of unistr.h finds the first byte that is no UTF-8.
     * What is to happen to the characters behind it?
     */

    /*
     * TODO 7: an orderly end by SIGINT and SIGTERM, with "ss_stop.h" or as in
     * lesson 03.
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
