/*
 * The client of the broadcast server: the lines of standard input are sent,
 * and those that come are printed. An empty line or the end of input ends it.
 *
 * Run: build/lessons/08-broadcast/client-5-robust -P 50001
 *      while a server listens there
 *
 * Changed since step 4: a server that ends before this client has, or in the
 * middle of a line, is a failure, and so is a standard output that cannot be
 * written. Both are told, and the status is 1.
 *
 * Still wrong:
 * - While nobody reads standard output, the program waits there, and the server
 *   drops it in the end. Never mended, because lines have no other place to go.
 * - A server whose machine vanished looks idle. Never mended here, because only
 *   a time limit could tell, and the contract has none.
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_connect.h"

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
#define DEFAULT_PORT "50001"
#define BUFFER_SIZE 1024

struct options {
    const char *host;
    const char *port;
};

struct talk {
    int server;
    char input[BUFFER_SIZE]; /* from begin to end it is not sent yet */
    size_t begin;
    size_t end;
    bool line_start; /* of the input; at first, and after a newline */
    bool input_ended;
    bool half_closed;
    bool server_ended;
    bool line_begun; /* of the output; its newline has not come */
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

/* Cuts the input off at an empty line, and looks for line starts. */
static void look_at_lines(struct talk *talk)
{
    for (size_t i = 0; i < talk->end; i++) {
        bool newline = talk->input[i] == '\n';
        if (newline && talk->line_start) { /* an empty line */
            talk->input_ended = true;
            talk->end = i;
        }
        talk->line_start = newline;
    }
}

/* Reads some input and looks for its end; -1 after a complaint. */
static int take_input(struct talk *talk)
{
    ssize_t got = read(STDIN_FILENO, talk->input, sizeof(talk->input));
    if (got == -1 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (got == -1) {
        complain("standard input");
        return -1;
    }
    talk->begin = 0;
    talk->end = (size_t)got;
    if (got == 0) {
        talk->input_ended = true;
        if (!talk->line_start) /* The last line has no newline: lend it one. */
            talk->input[talk->end++] = '\n';
    } else {
        look_at_lines(talk);
    }
    return 0;
}

/* -1 after a complaint. */
static int print(const char *data, size_t length)
{
    fwrite(data, 1, length, stdout);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    complain("standard output");
    return -1;
}

/* What the server's end means; -1 after a complaint. */
static int end_of_server(struct talk *talk)
{
    talk->server_ended = true;
    if (talk->half_closed && !talk->line_begun)
        return 0;
    fprintf(stderr, "%s: recv: server closed the connection%s\n", program,
            talk->line_begun ? " in the middle of a line" : "");
    return -1;
}

/* Prints what has come; -1 after a complaint. */
static int take_lines(struct talk *talk)
{
    char buffer[BUFFER_SIZE];
    ssize_t got = recv(talk->server, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got == -1 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (got == -1) {
        complain("recv");
        return -1;
    }
    if (got == 0)
        return end_of_server(talk);
    talk->line_begun = buffer[got - 1] != '\n';
    return print(buffer, (size_t)got);
}

/* Sends as much as the kernel takes at once; -1 after a complaint. */
static int send_input(struct talk *talk)
{
    ssize_t sent = send(talk->server, talk->input + talk->begin,
                        talk->end - talk->begin, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == -1 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (sent == -1) {
        complain("send");
        return -1;
    }
    talk->begin += (size_t)sent;
    return 0;
}

/* Waits for one thing to do, and does it; -1 after a complaint. */
static int attend(struct talk *talk)
{
    bool sending = talk->begin < talk->end;
    bool reading = !sending && !talk->input_ended;
    if (!sending && !reading && !talk->half_closed) {
        shutdown(talk->server, SHUT_WR); /* recv(2) tells of a loss. */
        talk->half_closed = true;
    }
    struct pollfd wanted[2] = {
        {.fd = reading ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = talk->server, .events = sending ? POLLIN | POLLOUT : POLLIN},
    };
    if (poll(wanted, 2, -1) == -1 && errno != EINTR) {
        complain("poll");
        return -1;
    }
    if (wanted[0].revents != 0 && take_input(talk) == -1)
        return -1;
    /* Lines first: after a reset, those that came can still be read. */
    if ((wanted[1].revents & ~POLLOUT) != 0)
        return take_lines(talk);
    return wanted[1].revents != 0 ? send_input(talk) : 0;
}

/* Talks until the server ends; -1 after a complaint. */
static int talk(int server)
{
    signal(SIGPIPE, SIG_IGN); /* for standard output; it cannot fail */
    struct talk talk = {.server = server, .line_start = true};
    int result = 0;
    while (result == 0 && !talk.server_ended)
        result = attend(&talk);
    if (talk.line_begun)
        putchar('\n'); /* Best effort: a failure has just been told. */
    return result;
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
