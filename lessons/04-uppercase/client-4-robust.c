/*
 * The client of the upper-case server: one line of standard input is sent, and
 * the reply is printed after "From Server: ".
 *
 * Run: build/lessons/04-uppercase/client-4-robust
 *      while a server listens there
 *
 * Changed since step 3: the reply is read while the line is still being sent.
 * A server that answers piece by piece stops reading while nobody reads its
 * answer. No single call waits: a deadline that has passed makes the library's
 * calls do only what can be done at once, and ss_wait() waits for both ways.
 *
 * Still wrong:
 * - The server's end goes unnoticed until the line is typed, and the line is
 *   held in memory whole: lesson 03 shows how to mend both.
 * - While nobody reads standard output, the program waits there. Never mended,
 *   because the reply has no other place to go.
 * - A server whose machine vanished looks idle. Never mended here, because only
 *   a time limit could tell, and the contract has none.
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_connect.h"
#include "ss_io.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "12000"
#define BUFFER_SIZE 1024

struct options {
    const char *host;
    const char *port;
};

static const char *program = "client";

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
    return errno == 0 && *end == '\0' && port >= 1 && port <= 65535;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = DEFAULT_HOST, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg;
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT]\n", program);
        exit(2);
    }
    return options;
}

/* A connected socket, or -1 after a complaint. */
static int open_connection(const struct options *options)
{
    int error; /* of the resolver, whose errors are no errno */
    int server =
        ss_connect(options->host, options->port, SOCK_STREAM, NULL, &error);
    if (server == -1)
        fprintf(stderr, "%s: connect %s port %s: %s\n", program, options->host,
                options->port,
                error == 0 || error == EAI_SYSTEM ? strerror(errno)
                                                  : gai_strerror(error));
    return server;
}

/* The length without the newline; -1 at the end of input or at an error. */
static ssize_t read_line(char **line, size_t *size)
{
    if (isatty(STDIN_FILENO)) {
        fputs("Input lowercase sentence:", stdout);
        fflush(stdout);
    }
    ssize_t length = getline(line, size, stdin);
    if (length > 0 && (*line)[length - 1] == '\n')
        length--;
    return length;
}

/* Prints a piece of the reply; -1 after a complaint. */
static int print_reply(const char *reply, size_t length, bool begun)
{
    if (!begun)
        fputs("From Server: ", stdout);
    fwrite(reply, 1, length, stdout);
    if (fflush(stdout) != EOF && !ferror(stdout))
        return 0;
    complain("standard output");
    return -1;
}

/* Ends the line of a reply that is cut off. */
static void break_reply(bool begun)
{
    if (begun)
        putchar('\n');
    fflush(stdout); /* Best effort: a failure has just been told. */
}

/* Prints what has come of the reply; -1 after a complaint. */
static int receive_some(int server, bool *begun, bool *ended)
{
    char reply[BUFFER_SIZE];
    size_t got;
    struct ss_deadline now;
    ss_deadline_set(&now, 0);
    if (ss_recv_some(server, reply, sizeof(reply), &now, &got) == -1) {
        if (errno == ETIMEDOUT)
            return 0; /* Nothing is there. */
        complain("recv");
        break_reply(*begun);
        return -1;
    }
    if (got == 0) {
        fprintf(stderr, "%s: recv: server closed the connection\n", program);
        break_reply(*begun);
        return -1;
    }
    const char *newline = memchr(reply, '\n', got);
    *ended = newline != NULL;
    size_t length = *ended ? (size_t)(newline - reply) + 1 : got;
    int result = print_reply(reply, length, *begun);
    *begun = true;
    return result;
}

/* Sends what the kernel takes at once; -1 after a complaint. */
static int send_some(int server, const char **line, size_t *left)
{
    struct ss_deadline now;
    ss_deadline_set(&now, 0);
    size_t sent;
    int result = ss_send_all(server, *line, *left, &now, &sent);
    *line += sent;
    *left -= sent;
    if (result == 0 || errno == ETIMEDOUT)
        return 0;
    complain("send");
    return -1;
}

/* Sends the line and prints the whole reply; -1 after a complaint. */
static int exchange(int server, const char *line, size_t left)
{
    bool begun = false;
    bool ended = false;
    while (!ended) {
        if (ss_wait(server, left > 0 ? POLLIN | POLLOUT : POLLIN, NULL) == -1) {
            complain("poll");
            return -1;
        }
        /* The reply first: after a reset, what came can still be read. */
        if (receive_some(server, &begun, &ended) == -1)
            return -1;
        if (!ended && send_some(server, &line, &left) == -1)
            return -1;
    }
    return 0;
}

/* Sends one line and prints the reply; -1 after a complaint. */
static int talk(int server, char **line, size_t *size)
{
    ssize_t length = read_line(line, size);
    if (length == -1 && !feof(stdin)) {
        complain("standard input");
        return -1;
    }
    if (length == -1)
        return 0;
    (*line)[length++] = '\n'; /* There, or in place of getline's NUL. */
    return exchange(server, *line, (size_t)length);
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
