/*
 * The client of the broadcast server: a line of standard input is sent, then
 * one line is received and printed. An empty line or the end of input ends it.
 *
 * Run: build/lessons/08-broadcast/client-2-taught-before -P 50001
 *      while a server listens there
 *
 * Changed since step 1: what lessons 02 and 03 taught, by the library of src/:
 * short counts, EINTR, SIGPIPE, hosts with several addresses. A line is sent
 * with its newline, and received up to its newline.
 *
 * Still wrong:
 * - While nobody answers nothing more is sent, and while nothing is typed
 *   nothing is printed (3).
 * - The server's end is noticed only after the next line (4), and it is taken
 *   for a good one. Errors of standard output are ignored (5).
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_connect.h"
#include "ss_io.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "50001"
#define LINE_SIZE 1024 /* the longest line, its newline included */

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

/* A connection to the first address that answers; -1 after a complaint. */
static int open_connection(const struct options *options)
{
    int resolver;
    int server =
        ss_connect(options->host, options->port, SOCK_STREAM, NULL, &resolver);
    bool name = resolver != 0 && resolver != EAI_SYSTEM;
    if (server == -1)
        fprintf(stderr, "%s: connect %s port %s: %s\n", program, options->host,
                options->port, name ? gai_strerror(resolver) : strerror(errno));
    return server;
}

/* The length with the newline; -1 at the end of input or at an error. */
static ssize_t read_line(char **line, size_t *size)
{
    if (isatty(STDIN_FILENO)) {
        fputs("> ", stdout);
        fflush(stdout);
    }
    ssize_t length = getline(line, size, stdin);
    if (length > 0 && (*line)[length - 1] != '\n')
        (*line)[length++] = '\n'; /* in place of getline's NUL */
    return length;
}

/* Best effort: the document does not look at it either. */
static void print(const char *data, size_t length)
{
    fwrite(data, 1, length, stdout);
    fflush(stdout);
}

/* Prints one line; 1 at the server's end, -1 after a complaint. */
static int receive_line(int server)
{
    char buffer[LINE_SIZE];
    size_t got;
    int result =
        ss_recv_until(server, buffer, sizeof(buffer), '\n', NULL, &got);
    print(buffer, got);
    if (result == 0)
        return 0;
    if (errno == ENODATA)
        return 1;
    complain("recv");
    return -1;
}

/* Sends line after line until an empty one; -1 after a complaint. */
static int send_lines(int server, char **line, size_t *size)
{
    for (;;) {
        ssize_t length = read_line(line, size);
        if (length == -1 && !feof(stdin)) {
            complain("standard input");
            return -1;
        }
        if (length == -1 || length == 1)
            return 0;
        size_t done;
        if (ss_send_all(server, *line, (size_t)length, NULL, &done) == -1) {
            complain("send");
            return -1;
        }
        int result = receive_line(server);
        if (result != 0)
            return result;
    }
}

/* Talks until the input or the server ends; -1 after a complaint. */
static int talk(int server)
{
    char *line = NULL;
    size_t size = 0;
    int result = send_lines(server, &line, &size);
    free(line);
    return result == -1 ? -1 : 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int server = open_connection(&options);
    if (server == -1)
        return 1;
    int result = talk(server);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
