/*
 * The client of the echo server: each line of standard input is sent, and the
 * reply is printed after ">". An empty line or the end of input ends it.
 *
 * Run: build/lessons/06-multi-client-echo/client-2-robust -P 8080
 *      while a server listens there
 *
 * Changed since step 1: all that the seven steps of lesson 03 mended, and in
 * the same words; ss_connect() of the library tries every address. It sends and
 * receives at the same time, and so never makes the server wait for it.
 *
 * Still wrong:
 * - While nobody reads standard output, the program waits there. Never mended,
 *   because replies have no other place to go.
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
#define DEFAULT_PORT "8080"
#define BUFFER_SIZE 1024

struct options {
    const char *host;
    const char *port;
};

struct talk {
    int server;
    char line[BUFFER_SIZE]; /* input: from begin to end it is not sent yet */
    size_t begin;
    size_t end;
    bool line_start; /* of the input; at first, and after a newline */
    bool prompted;
    bool input_ended;
    bool half_closed;
    bool reply_begun; /* its ">" is printed, its newline is not */
    long long owed;   /* bytes sent that have not come back */
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

/* Connects to the first address that answers; -1 after a complaint. */
static int open_connection(const struct options *options)
{
    int resolver = 0;
    int server =
        ss_connect(options->host, options->port, SOCK_STREAM, NULL, &resolver);
    if (server == -1)
        fprintf(stderr, "%s: connect %s port %s: %s\n", program, options->host,
                options->port,
                resolver == 0 || resolver == EAI_SYSTEM
                    ? strerror(errno)
                    : gai_strerror(resolver));
    return server;
}

/* Prompts a reader at a terminal once the last reply is there. */
static void prompt(struct talk *talk)
{
    if (talk->prompted || talk->input_ended || talk->owed > 0 ||
        talk->begin < talk->end || !isatty(STDIN_FILENO))
        return;
    putchar(':');
    fflush(stdout);
    talk->prompted = true;
}

/* Reads some input and looks for its end; -1 after a complaint. */
static int take_input(struct talk *talk)
{
    ssize_t got = read(STDIN_FILENO, talk->line, sizeof(talk->line));
    if (got == -1 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (got == -1) {
        complain("standard input");
        return -1;
    }
    talk->prompted = false;
    talk->begin = 0;
    talk->end = (size_t)got;
    if (got == 0) {
        talk->input_ended = true;
        if (!talk->line_start) /* The last line has no newline: lend it one. */
            talk->line[talk->end++] = '\n';
    }
    for (size_t i = 0; i < talk->end; i++) {
        bool newline = talk->line[i] == '\n';
        if (newline && talk->line_start) { /* an empty line */
            talk->input_ended = true;
            talk->end = i;
        }
        talk->line_start = newline;
    }
    return 0;
}

/* Sends as much as the kernel takes at once; -1 after a complaint. */
static int send_input(struct talk *talk)
{
    ssize_t sent = send(talk->server, talk->line + talk->begin,
                        talk->end - talk->begin, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == -1 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (sent == -1) {
        complain("send");
        return -1;
    }
    talk->begin += (size_t)sent;
    talk->owed += sent;
    return 0;
}

/* Ends the line of a reply that is cut off. */
static void break_reply(const struct talk *talk)
{
    if (talk->reply_begun)
        putchar('\n');
    fflush(stdout); /* Best effort: a failure has just been told. */
}

/* Prints what came; -1 after a complaint or at the server's end. */
static int take_replies(struct talk *talk)
{
    char reply[BUFFER_SIZE];
    ssize_t got = recv(talk->server, reply, sizeof(reply), MSG_DONTWAIT);
    if (got == -1 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (got == -1) {
        complain("recv");
        break_reply(talk);
        return -1;
    }
    if (got == 0) {
        fprintf(stderr, "%s: recv: server closed the connection%s\n", program,
                talk->owed > 0 ? " before the whole reply came" : "");
        break_reply(talk);
        return -1;
    }
    talk->owed -= got;
    for (ssize_t i = 0; i < got; i++) {
        if (!talk->reply_begun)
            putchar('>');
        putchar(reply[i]);
        talk->reply_begun = reply[i] != '\n';
    }
    if (fflush(stdout) == EOF || ferror(stdout)) {
        complain("standard output");
        return -1;
    }
    return 0;
}

/* Tells the server that no more will come; -1 after a complaint. */
static int half_close(struct talk *talk)
{
    talk->half_closed = true;
    if (shutdown(talk->server, SHUT_WR) == 0 || errno == ENOTCONN)
        return 0; /* Of a lost connection, recv(2) tells more. */
    complain("shutdown");
    return -1;
}

/* Talks until the input and the replies to it end; -1 after a complaint. */
static int talk(struct talk *talk)
{
    while (!talk->half_closed || talk->owed > 0) {
        bool sending = talk->begin < talk->end;
        bool reading = !sending && !talk->input_ended;
        if (!sending && !reading && !talk->half_closed) {
            if (half_close(talk) == -1)
                return -1;
            continue;
        }
        prompt(talk);
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
        /* Replies first: after a reset the ones that came can still be read. */
        if ((wanted[1].revents & ~POLLOUT) != 0) {
            if (take_replies(talk) == -1)
                return -1;
        } else if (wanted[1].revents != 0 && send_input(talk) == -1) {
            return -1;
        }
    }
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int server = open_connection(&options);
    if (server == -1)
        return 1;
    signal(SIGPIPE, SIG_IGN); /* for standard output; it cannot fail */
    struct talk state = {.server = server, .line_start = true};
    int result = talk(&state);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
