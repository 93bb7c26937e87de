/*
 * An upper-case server: clients are served one after the other. What one
 * recv(2) brings goes back in upper case, and then the connection ends.
 *
 * Run: build/lessons/04-uppercase/server-2-known
 *      and, in a second terminal, nc 127.0.0.1 12000
 *
 * Changed since step 1: what lessons 02 and 03 taught, from the kit's library:
 * ss_listen() sets SO_REUSEADDR, ss_recv_some() and ss_send_all() go on after
 * EINTR and a short count, and no client that breaks off ends the program.
 * The errors of accept(2) are sorted as in lesson 03. After the reply the
 * server reads on for a moment: close(2) with unread bytes would send a reset,
 * which can overtake the reply.
 *
 * Still wrong:
 * - One recv(2) is taken for the whole message (3).
 * - Letters beyond those of English stay small (4, 5).
 * - SIGTERM kills the program in the middle of a reply (8).
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_io.h"
#include "ss_listen.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "12000"
#define BACKLOG 10
#define BUFFER_SIZE 1024
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

/* Turns small letters into capitals, in place. */
static void upper_case(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) /* toupper(3) takes no negative char. */
        text[i] = (char)toupper((unsigned char)text[i]);
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

/* Answers one client, unless that fails: then it complains. */
static void answer(int connection)
{
    char buffer[BUFFER_SIZE];
    size_t got;
    size_t sent;
    if (ss_recv_some(connection, buffer, sizeof(buffer), NULL, &got) == -1) {
        complain("recv");
        return;
    }
    upper_case(buffer, got);
    if (ss_send_all(connection, buffer, got, NULL, &sent) == -1) {
        complain("send");
        return;
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
