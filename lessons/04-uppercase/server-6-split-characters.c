/*
 * An upper-case server: clients are served one after the other. A message
 * ends at its newline or at the client's end of stream; it goes back in upper
 * case, and then the connection ends.
 *
 * Run: build/lessons/04-uppercase/server-6-split-characters
 *      and, in a second terminal, nc 127.0.0.1 12000
 * Links: -lunistring
 *
 * Changed since step 5: the beginning of a character at the end of a piece is
 * held back, three bytes at most, until the rest of the character comes. Only
 * whole characters are made capitals, each without a look at its neighbours:
 * so the pieces make the same reply as the whole message would.
 *
 * Still wrong:
 * - What is no UTF-8 is refused (7). The document's server, at such bytes, ends
 *   altogether.
 * - SIGTERM kills the program in the middle of a reply (8).
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_io.h"
#include "ss_listen.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unicase.h>
#include <unistd.h>
#include <unistr.h>

#define DEFAULT_PORT "12000"
#define BACKLOG 10
#define BUFFER_SIZE 1024
#define REPLY_SIZE (3 * BUFFER_SIZE) /* U+0390: 2 bytes become 6, the most */
#define PAUSE_MS 100
#define LINGER_MS 200 /* for a client to close after its reply */

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

/* A listening socket, or -1 after a complaint. */
static int open_listener(const struct options *options)
{
    const char *host = options->host != NULL ? options->host : "0.0.0.0";
    int listener;
    size_t count;
    int error; /* of the resolver, whose errors are no errno */
    if (ss_listen(host, options->port, SOCK_STREAM, BACKLOG, &listener, 1,
                  &count, &error) == 0)
        return listener;
    fprintf(stderr, "%s: listen at %s port %s: %s\n", program, host,
            options->port,
            error == 0 || error == EAI_SYSTEM ? strerror(errno)
                                              : gai_strerror(error));
    return -1;
}

/* Writes the text in capitals; *made bytes, or -1 with errno. */
static int upper_case(const uint8_t *text, size_t length, uint8_t *reply,
                      size_t *made)
{
    if (u8_check(text, length) != NULL) { /* It gives the first wrong byte. */
        errno = EILSEQ;
        return -1;
    }
    *made = REPLY_SIZE;
    /* The result lies in reply because it fits there. */
    return u8_toupper(text, length, NULL, NULL, reply, made) != NULL ? 0 : -1;
}

/* How many of the last bytes are the beginning of a character. */
static size_t unfinished(const uint8_t *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        ucs4_t character;
        /* -1: no character begins here. -2: one does, and more is to come. */
        if (u8_mbtoucr(&character, text + length - back, back) == -2)
            return back;
    }
    return 0;
}

/* Best effort: the reply has been sent; this is for its safe arrival. */
static void wait_for_close(int connection)
{
    char rest[BUFFER_SIZE];
    size_t got = 1;
    struct ss_deadline limit;
    ss_deadline_set(&limit, LINGER_MS);
    shutdown(connection, SHUT_WR);
    while (got > 0 && ss_deadline_left_ms(&limit) > 0)
        if (ss_recv_some(connection, rest, sizeof(rest), &limit, &got) == -1)
            return; /* It lasts too long, or the client is lost. */
}

/* Answers one client to its message's end, unless a complaint comes first. */
static void answer(int connection)
{
    uint8_t buffer[BUFFER_SIZE];
    uint8_t reply[REPLY_SIZE];
    size_t held = 0; /* bytes from the piece before, at the beginning */
    bool ended = false;
    while (!ended) {
        size_t got;
        size_t made;
        size_t sent;
        if (ss_recv_some(connection, buffer + held, sizeof(buffer) - held, NULL,
                         &got) == -1) {
            complain("recv");
            return;
        }
        const uint8_t *newline = memchr(buffer + held, '\n', got);
        size_t length =
            newline != NULL ? (size_t)(newline - buffer) + 1 : held + got;
        ended = newline != NULL || got == 0; /* its line or its stream */
        held = ended ? 0 : unfinished(buffer, length);
        length -= held;
        if (upper_case(buffer, length, reply, &made) == -1) {
            complain("upper case");
            return;
        }
        if (ss_send_all(connection, reply, made, NULL, &sent) == -1) {
            complain("send");
            return;
        }
        memmove(buffer, buffer + length, held);
    }
    wait_for_close(connection);
}

/* 0 where accept(2) may be called again; -1 after a complaint. */
static int after_failed_accept(bool *told)
{
    switch (errno) {
    case EBADF:
    case EFAULT:
    case EINVAL:
    case ENOTSOCK: /* This program is wrong. */
        complain("accept");
        return -1;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (!*told)
            complain("accept"); /* once, not for every pause */
        *told = true;
        poll(NULL, 0, PAUSE_MS); /* Best effort: a shorter pause will do. */
        return 0;
    default:
        return 0; /* EINTR, or the network took one client away. */
    }
}

/* Serves one client after the other; -1 after a complaint. */
static int serve(int listener)
{
    bool told = false;
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection == -1) {
            if (after_failed_accept(&told) == -1)
                return -1;
            continue;
        }
        told = false;
        answer(connection);
        close(connection); /* Best effort: every byte has been sent or lost. */
    }
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int listener = open_listener(&options);
    if (listener == -1)
        return 1;
    int result = serve(listener);
    close(listener); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
