/*
 * The client of the echo server for processes of one machine, over AF_UNIX:
 * each line of standard input is sent, and the reply is printed after ">". An
 * empty line or the end of input ends it.
 *
 * Run: build/lessons/09-unix-domain-echo/client-6-robust -U echo.sock
 *      while a server listens there
 *
 * Changed since step 5: the same program talks to servers of AF_INET, AF_INET6
 * and AF_UNIX. Only the address is of one family; send(2) and recv(2) are the
 * same for all. -U names a path, -H and -P name a server of TCP.
 *
 * Still wrong:
 * - While nobody reads standard output, the program waits there. Never mended,
 *   because replies have no other place to go.
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_connect.h"
#include "ss_io.h"
#include "ss_time.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
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
#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "9090"
#define BUFFER_SIZE 1024

struct options {
    const char *path; /* of the socket file, or "@" and an abstract name */
    const char *host; /* NULL, with the port: no TCP is asked for */
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
    char *last;
    errno = 0;
    long port = strtol(text, &last, 10);
    return errno == 0 && *last == '\0' && port >= 1 && port <= 65535;
}

static bool is_path(const char *text)
{
    /* At neither of these can a server be found. */
    return strcmp(text, "") != 0 && strcmp(text, "@") != 0;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.path = NULL, .host = NULL, .port = NULL};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "U:H:P:")) != -1) {
        if (option == 'U' && is_path(optarg))
            options.path = optarg;
        else if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg;
        else
            right = false;
    }
    bool tcp = options.host != NULL || options.port != NULL;
    if (!right || optind != argc || (tcp && options.path != NULL)) {
        fprintf(stderr, "usage: %s [-U PATH | [-H HOST] [-P PORT]]\n", program);
        exit(2);
    }
    if (!tcp && options.path == NULL)
        options.path = DEFAULT_PATH;
    if (tcp && options.host == NULL)
        options.host = DEFAULT_HOST;
    if (tcp && options.port == NULL)
        options.port = DEFAULT_PORT;
    return options;
}

/* Makes an address of the path; its length, or 0 if the path is too long. */
static socklen_t set_address(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    size_t path_length = strlen(path);
    bool abstract = path[0] == '@';
    if (path_length > sizeof(address->sun_path) - (abstract ? 0 : 1))
        return 0; /* No NUL ends an abstract name. */
    memcpy(address->sun_path, path, path_length);
    if (!abstract)
        return sizeof(*address);
    /* In an abstract name the NUL comes first, where the "@" was, and every
     * byte counts up to the length.
     */
    address->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_length);
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
    *call = "path";
    if (length == 0) {
        errno = ENAMETOOLONG;
        return -1;
    }
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

/* A socket that is connected by TCP, or -1 after a complaint. */
static int open_tcp_connection(const struct options *options)
{
    int resolver;
    int server =
        ss_connect(options->host, options->port, SOCK_STREAM, NULL, &resolver);
    /* The errors of the resolver have numbers of their own. */
    bool named = resolver != 0 && resolver != EAI_SYSTEM;
    if (server == -1)
        fprintf(stderr, "%s: connect %s port %s: %s\n", program, options->host,
                options->port,
                named ? gai_strerror(resolver) : strerror(errno));
    return server;
}

/* A connected socket, or -1 after a complaint. */
static int open_connection(const struct options *options)
{
    const char *call = "";
    if (options->path == NULL)
        return open_tcp_connection(options);
    int server = connect_to(options->path, &call);
    if (server == -1)
        fprintf(stderr, "%s: %s %s: %s\n", program, call, options->path,
                strerror(errno));
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
    struct ss_deadline now; /* The library is not to wait. */
    ss_deadline_set(&now, 0);
    size_t sent;
    int result = ss_send_all(talk->server, talk->line + talk->begin,
                             talk->end - talk->begin, &now, &sent);
    talk->begin += sent;
    talk->owed += (long long)sent;
    if (result == 0 || errno == ETIMEDOUT)
        return 0;
    complain("send");
    return -1;
}

/* Prints what came; -1 after a complaint or at the server's end. */
static int take_replies(struct talk *talk)
{
    char reply[BUFFER_SIZE];
    size_t got;
    int result = ss_recv_some(talk->server, reply, sizeof(reply), NULL, &got);
    if (result == -1)
        complain("recv");
    else if (got == 0)
        fprintf(stderr, "%s: recv: server closed the connection%s\n", program,
                talk->owed > 0 ? " before the whole reply came" : "");
    if (result == -1 || got == 0) {
        if (talk->reply_begun) /* The line of a reply that is cut off ends. */
            putchar('\n');
        fflush(stdout); /* Best effort: a failure has just been told. */
        return -1;
    }
    talk->owed -= (long long)got;
    for (size_t i = 0; i < got; i++) {
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
        /* Replies first: after the server's end those that came can be read. */
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
