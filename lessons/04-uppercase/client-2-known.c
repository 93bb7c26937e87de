/*
 * The client of the upper-case server: one line of standard input is sent, one
 * recv(2) takes the reply, which is printed after "From Server: ".
 *
 * Run: build/lessons/04-uppercase/client-2-known
 *      while a server listens there
 *
 * Changed since step 1: what lesson 02 taught, from the kit's library.
 * ss_connect() tries every address, ss_send_all() and ss_recv_some() go on
 * after EINTR and a short count, without SIGPIPE. The line is sent with its
 * newline, and errors of standard output are told.
 *
 * Still wrong:
 * - One recv(2) is taken for the whole reply, and the server's end for an empty
 *   one (3).
 * - A line larger than all buffers on the way makes client and server wait
 *   for each other (4).
 * - The server's end goes unnoticed until the line is typed, and the line is
 *   held in memory whole: lesson 03 shows how to mend both.
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_connect.h"
#include "ss_io.h"

#include <errno.h>
#include <netdb.h>
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

/* -1 after a complaint. */
static int print_reply(const char *reply, size_t length)
{
    fputs("From Server: ", stdout);
    fwrite(reply, 1, length, stdout);
    if (length == 0 || reply[length - 1] != '\n')
        putchar('\n');
    if (fflush(stdout) != EOF && !ferror(stdout))
        return 0;
    complain("standard output");
    return -1;
}

/* Prints the reply; -1 after a complaint. */
static int receive_reply(int server)
{
    char reply[BUFFER_SIZE];
    size_t got;
    if (ss_recv_some(server, reply, sizeof(reply), NULL, &got) == -1) {
        complain("recv");
        return -1;
    }
    return print_reply(reply, got);
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
    size_t sent;
    if (ss_send_all(server, *line, (size_t)length, NULL, &sent) == -1) {
        complain("send");
        return -1;
    }
    return receive_reply(server);
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
