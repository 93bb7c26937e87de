/*
 * The client of the echo server for processes of one machine, over AF_UNIX:
 * each line of standard input is sent, and the reply is printed after ">". An
 * empty line or the end of input ends it.
 *
 * Run: build/lessons/09-unix-domain-echo/client-2-known -U echo.sock
 *      while a server listens there
 *
 * Changed since step 1: what lessons 02 and 03 taught comes from the library.
 * Lines are sent with their newline, and a reply ends at its newline; ss_io.h
 * goes on after a short count and after EINTR and raises no SIGPIPE. Errors of
 * standard output are told.
 *
 * Still wrong:
 * - A line larger than all buffers on the way makes client and server wait
 *   for each other, and a server's end goes unnoticed until the next line is
 *   typed (3).
 * - A path that is too long is cut, and names another file (4).
 * - `@name` is taken for a path, not for an abstract name (5).
 * - It knows AF_UNIX only (6).
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_io.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_PATH "echo.sock"
#define BUFFER_SIZE 1024

struct options {
    const char *path; /* of the socket file, or "@" and an abstract name */
};

static const char *program = "client";

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

static bool is_path(const char *text)
{
    /* At neither of these can a server be found. */
    return strcmp(text, "") != 0 && strcmp(text, "@") != 0;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.path = DEFAULT_PATH};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "U:")) != -1) {
        if (option == 'U' && is_path(optarg))
            options.path = optarg;
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-U PATH]\n", program);
        exit(2);
    }
    return options;
}

/* Makes an address of the path; its length. */
static socklen_t set_address(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    strncpy(address->sun_path, path, sizeof(address->sun_path) - 1);
    return sizeof(*address);
}

/* -1 with errno. */
static int connect_fully(int server, const struct sockaddr_un *address,
                         socklen_t length)
{
    /* On AF_UNIX a connect(2) that a signal interrupts has done nothing, or
     * all: it does not go on by itself, as that of TCP does.
     */
    while (connect(server, (const struct sockaddr *)address, length) == -1)
        if (errno != EINTR)
            return errno == EISCONN ? 0 : -1;
    return 0;
}

/* A connected socket, or -1 with errno; *call is the call that failed. */
static int connect_to(const char *path, const char **call)
{
    struct sockaddr_un address;
    socklen_t length = set_address(&address, path);
    *call = "socket";
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    if (server == -1)
        return -1;
    *call = "connect";
    if (connect_fully(server, &address, length) == 0)
        return server;
    int error = errno;
    close(server); /* Best effort: the first error is the one to tell. */
    errno = error;
    return -1;
}

/* A connected socket, or -1 after a complaint. */
static int open_connection(const struct options *options)
{
    const char *call = "";
    int server = connect_to(options->path, &call);
    if (server == -1)
        fprintf(stderr, "%s: %s %s: %s\n", program, call, options->path,
                strerror(errno));
    return server;
}

/* The length with the newline; -1 at the end of input or at an error. */
static ssize_t read_line(char **line, size_t *size)
{
    if (isatty(STDIN_FILENO)) {
        putchar(':');
        fflush(stdout);
    }
    ssize_t length = getline(line, size, stdin);
    if (length > 0 && (*line)[length - 1] != '\n')
        (*line)[length++] = '\n'; /* in place of getline's NUL */
    return length;
}

/* Prints the reply to one line; -1 after a complaint. */
static int receive_reply(int server)
{
    char reply[BUFFER_SIZE];
    bool whole = false;
    putchar('>');
    while (!whole) {
        size_t got;
        whole =
            ss_recv_until(server, reply, sizeof(reply), '\n', NULL, &got) == 0;
        if (!whole && errno != EMSGSIZE) { /* That one says: there is more. */
            complain("recv");
            return -1;
        }
        fwrite(reply, 1, got, stdout);
    }
    if (fflush(stdout) == EOF || ferror(stdout)) {
        complain("standard output");
        return -1;
    }
    return 0;
}

/* Sends line after line until an empty one; -1 after a complaint. */
static int talk(int server, char **line, size_t *size)
{
    for (;;) {
        ssize_t length = read_line(line, size);
        if (length == -1 && !feof(stdin)) {
            complain("standard input");
            return -1;
        }
        if (length == -1 || (length == 1 && **line == '\n'))
            return 0;
        size_t sent;
        if (ss_send_all(server, *line, (size_t)length, NULL, &sent) == -1) {
            complain("send");
            return -1;
        }
        if (receive_reply(server) == -1)
            return -1;
    }
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int server = open_connection(&options);
    if (server == -1)
        return 1;
    signal(SIGPIPE, SIG_IGN); /* for standard output; it cannot fail */
    char *line = NULL;
    size_t size = 0;
    int result = talk(server, &line, &size);
    free(line);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
