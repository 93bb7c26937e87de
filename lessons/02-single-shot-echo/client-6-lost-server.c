/*
 * The client of the single-shot echo server: one line of standard input is
 * sent, and the reply is printed after ">".
 *
 * Run: build/lessons/02-single-shot-echo/client-6-lost-server -P 8080
 *      while a server listens there
 *
 * Changed since step 5: MSG_NOSIGNAL makes send(2) to a lost server fail with
 * EPIPE; without it the kernel raises SIGPIPE, which kills the program. What
 * cannot be written to standard output is an error too. A reply that is cut off
 * still gets its newline.
 *
 * Still wrong:
 * - A line larger than all buffers on the way makes client and server wait
 *   for each other; it knows IPv4 only (7).
 * - The server's end goes unnoticed until the line is typed, and the line is
 *   held in memory whole: lesson 03 mends both.
 */
#define _POSIX_C_SOURCE 200809L

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

/* The length without the newline; -1 at the end of input or at an error. */
static ssize_t read_line(char **line, size_t *size)
{
    if (isatty(STDIN_FILENO)) {
        putchar(':');
        fflush(stdout);
    }
    ssize_t length = getline(line, size, stdin);
    if (length > 0 && (*line)[length - 1] == '\n')
        length--;
    return length;
}

/* The number of bytes up to the end of the reply, or 0 after a complaint. */
static size_t print_reply(const char *reply, size_t length, bool begun)
{
    /* An echo server has nothing to say after the newline. */
    const char *newline = memchr(reply, '\n', length);
    if (newline != NULL)
        length = (size_t)(newline - reply) + 1;
    if (!begun)
        putchar('>');
    fwrite(reply, 1, length, stdout);
    if (fflush(stdout) == EOF || ferror(stdout)) {
        complain("standard output");
        return 0;
    }
    return length;
}

/* Ends the line of a reply that is cut off. */
static void break_reply(bool begun)
{
    if (begun)
        putchar('\n');
    fflush(stdout); /* Best effort: a failure has just been told. */
}

/* Sends every byte; -1 with errno. */
static int send_all(int server, const char *data, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t sent = send(server, data + done, length - done, MSG_NOSIGNAL);
        if (sent == -1 && errno == EINTR)
            continue;
        if (sent == -1)
            return -1;
        done += (size_t)sent;
    }
    return 0;
}

/* Prints the reply; -1 after a complaint. */
static int receive_reply(int server)
{
    char reply[BUFFER_SIZE];
    bool begun = false;
    bool ended = false;
    while (!ended) {
        ssize_t got = recv(server, reply, sizeof(reply), 0);
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1) {
            complain("recv");
            break_reply(begun);
            return -1;
        }
        if (got == 0) {
            fprintf(stderr, "%s: recv: server closed the connection\n",
                    program);
            break_reply(begun);
            return -1;
        }
        size_t length = print_reply(reply, (size_t)got, begun);
        if (length == 0)
            return -1;
        begun = true;
        ended = reply[length - 1] == '\n';
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
    if (length == -1 || length == 0)
        return 0;
    (*line)[length++] = '\n'; /* There, or in place of getline's NUL. */
    if (send_all(server, *line, (size_t)length) == -1) {
        complain("send");
        return -1;
    }
    return receive_reply(server);
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
    signal(SIGPIPE, SIG_IGN); /* for standard output; it cannot fail */
    char *line = NULL;
    size_t size = 0;
    int result = talk(server, &line, &size);
    free(line);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
