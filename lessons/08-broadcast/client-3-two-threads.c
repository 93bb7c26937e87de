/*
 * The client of the broadcast server: the lines of standard input are sent,
 * and those that come are printed. An empty line or the end of input ends it.
 *
 * Run: build/lessons/08-broadcast/client-3-two-threads -P 50001
 *      while a server listens there
 *
 * Changed since step 2: a second thread receives and prints, so that neither
 * direction waits for the other. The end of input half-closes the connection;
 * what still comes is printed until the server ends it.
 *
 * Still wrong:
 * - The server's end goes unnoticed until the next line is typed, because no
 *   thread can interrupt the other's wait (4). It is taken for a good end, and
 *   errors of standard output are ignored (5).
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_connect.h"
#include "ss_io.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "50001"
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

/* The thread that prints what comes, until the server ends. */
static void *receive_lines(void *argument)
{
    const int *server = argument;
    char buffer[BUFFER_SIZE];
    for (;;) {
        size_t got;
        int result = ss_recv_some(*server, buffer, sizeof(buffer), NULL, &got);
        if (result == -1)
            complain("recv");
        if (result == -1 || got == 0)
            return result == -1 ? argument : NULL; /* NULL: all is well */
        print(buffer, got);
    }
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
    }
}

/* Talks until the input and the server end; -1 after a complaint. */
static int talk(int server)
{
    pthread_t receiver;
    int error = pthread_create(&receiver, NULL, receive_lines, &server);
    if (error != 0) {
        errno = error;
        complain("thread");
        return -1;
    }
    char *line = NULL;
    size_t size = 0;
    int result = send_lines(server, &line, &size);
    free(line);
    shutdown(server, SHUT_WR); /* Best effort: recv(2) tells of a loss. */
    void *failure = NULL;
    pthread_join(receiver, &failure);
    return failure == NULL ? result : -1;
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
