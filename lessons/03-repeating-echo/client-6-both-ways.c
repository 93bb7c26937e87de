/*
 * The client of the repeating echo server: each line of standard input is sent,
 * and the reply is printed after ">". An empty line or the end of input ends
 * it.
 *
 * Run: build/lessons/03-repeating-echo/client-6-both-ways -P 9090
 *      while a server listens there
 *
 * Changed since step 5: poll(2) waits for the keyboard and the server at once.
 * Input goes out in the pieces in which it was read, while replies come in, so
 * that no line is too long and the server's end is seen at once. At the end of
 * input shutdown(2) half-closes: the server sees the end of the stream, and the
 * replies still under way are read. An echo brings back as many bytes as were
 * sent, so the client counts them.
 *
 * Still wrong:
 * - A lost server kills the program by SIGPIPE; errors of standard output are
 *   ignored; it knows IPv4 only (7).
 */
#define _POSIX_C_SOURCE 200809L

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

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "9090"
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

/* The addresses of the server, for freeaddrinfo(3); NULL after a complaint. */
static struct addrinfo *resolve(const struct options *options)
{
    struct addrinfo hints;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    struct addrinfo *list = NULL;
    int error = getaddrinfo(options->host, options->port, &hints, &list);
    if (error == 0)
        return list;
    /* Errors of the resolver have numbers of their own, apart from errno. */
    fprintf(stderr, "%s: resolve %s: %s\n", program, options->host,
            error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
    return NULL;
}

/* Waits for a connect(2) that a signal interrupted; -1 with errno. */
static int finish_connect(int server)
{
    struct pollfd wanted = {.fd = server, .events = POLLOUT};
    while (poll(&wanted, 1, -1) == -1)
        if (errno != EINTR)
            return -1;
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(server, SOL_SOCKET, SO_ERROR, &error, &length) == -1)
        return -1;
    if (error != 0) {
        errno = error;
        return -1;
    }
    struct sockaddr_storage peer;
    length = sizeof(peer);
    return getpeername(server, (struct sockaddr *)&peer, &length);
}

/* -1 with errno. */
static int connect_fully(int server, const struct addrinfo *address)
{
    while (connect(server, address->ai_addr, address->ai_addrlen) == -1) {
        if (errno != EINTR)
            return -1;
        if (finish_connect(server) == 0)
            return 0;
        if (errno != ENOTCONN)
            return -1;
        /* Nothing was begun: a tracer can interrupt a call before the kernel
         * sees it. Only then connect(2) is called again. */
    }
    return 0;
}

/* A connected socket, or -1 with errno; *call is the call that failed. */
static int connect_to(const struct addrinfo *address, const char **call)
{
    *call = "socket";
    int server =
        socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (server == -1)
        return -1;
    *call = "connect";
    if (connect_fully(server, address) == 0)
        return server;
    int error = errno;
    close(server); /* Best effort: the first error is the one to tell. */
    errno = error;
    return -1;
}

/* Connects to the first address that answers; -1 after a complaint. */
static int open_connection(const struct options *options,
                           const struct addrinfo *list)
{
    int server = -1;
    const char *call = "";
    for (; list != NULL && server == -1; list = list->ai_next)
        server = connect_to(list, &call);
    if (server == -1)
        fprintf(stderr, "%s: %s %s port %s: %s\n", program, call, options->host,
                options->port, strerror(errno));
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
                        talk->end - talk->begin, MSG_DONTWAIT);
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

/* Prints what came; -1 after a complaint or at the server's end. */
static int take_replies(struct talk *talk)
{
    char reply[BUFFER_SIZE];
    ssize_t got = recv(talk->server, reply, sizeof(reply), MSG_DONTWAIT);
    if (got == -1 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (got == -1) {
        complain("recv");
        return -1;
    }
    if (got == 0) {
        fprintf(stderr, "%s: recv: server closed the connection%s\n", program,
                talk->owed > 0 ? " before the whole reply came" : "");
        return -1;
    }
    talk->owed -= got;
    for (ssize_t i = 0; i < got; i++) {
        if (!talk->reply_begun)
            putchar('>');
        putchar(reply[i]);
        talk->reply_begun = reply[i] != '\n';
    }
    fflush(stdout);
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
    struct addrinfo *list = resolve(&options);
    if (list == NULL)
        return 1;
    int server = open_connection(&options, list);
    freeaddrinfo(list);
    if (server == -1)
        return 1;
    struct talk state = {.server = server, .line_start = true};
    int result = talk(&state);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
