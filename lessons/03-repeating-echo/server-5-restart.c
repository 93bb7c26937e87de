/*
 * A repeating echo server: clients are served one after the other, for ever,
 * and everything that a client sends goes back to it.
 *
 * Run: build/lessons/03-repeating-echo/server-5-restart
 *      and, in a second terminal, nc 127.0.0.1 9090
 *
 * Changed since step 4: SO_REUSEADDR allows the port to be bound while old
 * connections of it are still in TIME_WAIT (socket(7)), if the server that they
 * come from had set it too. A second server that
 * listens there at the same time is refused as before.
 *
 * Still wrong:
 * - A signal can make accept(2), recv(2) or send(2) fail with EINTR, which is
 *   taken for an error of the connection or of the program (6).
 * - Every error of accept(2) ends the program (7).
 * - SIGTERM kills the program in the middle of a reply (8).
 * - It knows IPv4 only, and stops with a standard output that is stuck (9).
 * - A client that is idle keeps the others waiting: lesson 06 mends that.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "9090"
#define BACKLOG 10
#define BUFFER_SIZE 1024

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
};

static const char *program = "server";

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
    return errno == 0 && *end == '\0' && port <= 65535;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = NULL, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg; /* "0": the kernel chooses one */
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT]\n", program);
        exit(2);
    }
    return options;
}

/* The addresses to bind, for freeaddrinfo(3); NULL after a complaint. */
static struct addrinfo *resolve(const struct options *options)
{
    struct addrinfo hints;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    struct addrinfo *list = NULL;
    int error = getaddrinfo(options->host, options->port, &hints, &list);
    if (error == 0)
        return list;
    /* Errors of the resolver have numbers of their own, apart from errno. */
    fprintf(stderr, "%s: resolve %s: %s\n", program,
            options->host != NULL ? options->host : "0.0.0.0",
            error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
    return NULL;
}

/* A listening socket, or -1 with errno; *call is the call that failed. */
static int listen_at(const struct addrinfo *address, const char **call)
{
    *call = "socket";
    int listener =
        socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (listener == -1)
        return -1;
    *call = "setsockopt";
    int yes = 1;
    int result =
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (result == 0) {
        *call = "bind";
        result = bind(listener, address->ai_addr, address->ai_addrlen);
    }
    if (result == 0) {
        *call = "listen";
        result = listen(listener, BACKLOG);
    }
    if (result == 0)
        return listener;
    int error = errno;
    close(listener); /* Best effort: the first error is the one to tell. */
    errno = error;
    return -1;
}

/* Listens at the first address that can be had; -1 after a complaint. */
static int open_listener(const struct options *options,
                         const struct addrinfo *list)
{
    int listener = -1;
    const char *call = "";
    for (; list != NULL && listener == -1; list = list->ai_next)
        listener = listen_at(list, &call);
    if (listener == -1)
        fprintf(stderr, "%s: %s %s port %s: %s\n", program, call,
                options->host != NULL ? options->host : "0.0.0.0",
                options->port, strerror(errno));
    return listener;
}

/* Best effort: an echo does not depend on its log. */
static void print_peer(const struct sockaddr_in *peer)
{
    char host[INET_ADDRSTRLEN] = "?";
    inet_ntop(AF_INET, &peer->sin_addr, host, sizeof(host));
    printf("connected from %s port %u\n", host, ntohs(peer->sin_port));
    fflush(stdout);
}

/* Sends every byte; -1 with errno. */
static int send_all(int connection, const char *data, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t sent =
            send(connection, data + done, length - done, MSG_NOSIGNAL);
        if (sent == -1)
            return -1;
        done += (size_t)sent;
    }
    return 0;
}

/* Sends back what comes until the end of the stream, or until an error. */
static void echo(int connection)
{
    char buffer[BUFFER_SIZE];
    for (;;) {
        ssize_t got = recv(connection, buffer, sizeof(buffer), 0);
        if (got == -1) {
            complain("recv");
            return;
        }
        if (got == 0)
            return; /* The client has sent its last byte. */
        if (send_all(connection, buffer, (size_t)got) == -1) {
            complain("send");
            return;
        }
    }
}

/* Serves one client after the other; -1 after a complaint. */
static int serve(int listener)
{
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof(peer);
        int connection = accept(listener, (struct sockaddr *)&peer, &length);
        if (connection == -1) {
            complain("accept");
            return -1;
        }
        print_peer(&peer);
        echo(connection);
        close(connection); /* Best effort: every byte has been sent or lost. */
    }
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct addrinfo *list = resolve(&options);
    if (list == NULL)
        return 1;
    int listener = open_listener(&options, list);
    freeaddrinfo(list);
    if (listener == -1)
        return 1;
    int result = serve(listener);
    close(listener); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
