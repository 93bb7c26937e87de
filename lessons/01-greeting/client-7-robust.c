/*
 * The client of the greeting server: it finds the addresses of a host, connects
 * to it, and prints what comes until the end of the stream.
 *
 * Run: build/lessons/01-greeting/client-7-robust -P 12345
 *      while a server listens there
 *
 * Changed since step 6: what comes is written out at once, and an error of
 * standard output, such as a full disk, is told and ends the client with status
 * 1. A reader of standard output that has gone is such an error too: SIGPIPE,
 * which would end the program without a word, is ignored.
 *
 * Still wrong:
 * - A server that accepts and then is silent makes the program wait for ever.
 *   Never mended here, because the contract has no time limit.
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
#define DEFAULT_PORT "12345"
#define BUFFER_SIZE 1024
#define HOST_SIZE 64 /* an address of IPv6, "%", the name of a link */
#define PORT_SIZE 6

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
    hints.ai_family = AF_UNSPEC;
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

/* Tells which call failed for which address and, by errno, why. */
static void complain_of(const char *call, const struct addrinfo *address)
{
    int error = errno;
    char host[HOST_SIZE] = "?", port[PORT_SIZE] = "?";
    /* Best effort: what is missing shows as a question mark. */
    getnameinfo(address->ai_addr, address->ai_addrlen, host, sizeof(host), port,
                sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    fprintf(stderr, "%s: %s %s port %s: %s\n", program, call, host, port,
            strerror(error));
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

/* A connected socket; -1 after a complaint. */
static int connect_to(const struct addrinfo *address)
{
    int server =
        socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (server == -1) {
        complain_of("socket", address);
        return -1;
    }
    if (connect_fully(server, address) == -1) {
        complain_of("connect", address);
        close(server); /* Best effort: another address may do. */
        return -1;
    }
    return server;
}

/* Connects to the first address that answers; -1 after complaints. */
static int open_connection(const struct addrinfo *list)
{
    int server = -1;
    for (; list != NULL && server == -1; list = list->ai_next)
        server = connect_to(list);
    return server;
}

/* Prints what comes until the end of the stream; -1 after a complaint. */
static int receive_greeting(int server)
{
    char buffer[BUFFER_SIZE];
    char last = '\n';
    for (;;) {
        ssize_t got = recv(server, buffer, sizeof(buffer), 0);
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1) {
            complain("recv");
            return -1;
        }
        if (got == 0)
            break; /* The server has sent its last byte. */
        fwrite(buffer, 1, (size_t)got, stdout);
        last = buffer[got - 1];
        if (fflush(stdout) == EOF) {
            complain("standard output");
            return -1;
        }
    }
    if (last != '\n')
        putchar('\n');
    if (fflush(stdout) == EOF || ferror(stdout)) {
        complain("standard output");
        return -1;
    }
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct addrinfo *list = resolve(&options);
    if (list == NULL)
        return 1;
    int server = open_connection(list);
    freeaddrinfo(list);
    if (server == -1)
        return 1;
    signal(SIGPIPE, SIG_IGN); /* for standard output; it cannot fail */
    int result = receive_greeting(server);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
