/*
 * A greeting server: each client is accepted, is sent "Thank you for
 * connecting", and is closed.
 *
 * Run: build/lessons/01-greeting/server-5-interrupted -P 12345
 *      and, in a second terminal, telnet localhost 12345
 *
 * Changed since step 4: a call that a signal interrupted (EINTR) is made again.
 * Nothing was accepted and no byte was taken, so nothing is lost or doubled.
 *
 * Still wrong:
 * - An error of accept(2) that is about one client ends the server (6).
 * - A client that has sent something gets a reset in place of the end of the
 *   stream, and may lose the greeting (7).
 * - SIGINT and SIGTERM kill the program, with a status that is not 0 (8).
 * - It takes numbers for -H, and no name (9).
 * - It knows IPv4 only, and a standard output that is stuck stops it (10).
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "12345"
#define BACKLOG 5

struct options {
    const char *host; /* NULL: every address of this machine */
    const char *port;
};

static const char *program = "server";
static const char greeting[] = "Thank you for connecting"; /* and a NUL */

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

/* Fills in the address to listen at; -1 after a complaint. */
static int make_address(const struct options *options,
                        struct sockaddr_in *address)
{
    memset(address, 0, sizeof(*address));
    address->sin_family = AF_INET;
    /* On the network the first byte of a number is the high one: htons(3)
     * and htonl(3) bring a number of this machine into that order. */
    address->sin_port = htons((uint16_t)atoi(options->port));
    address->sin_addr.s_addr = htonl(INADDR_ANY); /* every interface */
    if (options->host == NULL ||
        inet_pton(AF_INET, options->host, &address->sin_addr) == 1)
        return 0;
    fprintf(stderr, "%s: address %s: it is no IPv4 address\n", program,
            options->host);
    return -1;
}

/* A listening socket; -1 after a complaint. */
static int open_listener(const struct sockaddr_in *address)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener == -1) {
        complain("socket");
        return -1;
    }
    int yes = 1;
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) ==
        -1) {
        complain("setsockopt");
        close(listener); /* Best effort: the program ends anyway. */
        return -1;
    }
    const struct sockaddr *generic = (const struct sockaddr *)address;
    if (bind(listener, generic, sizeof(*address)) == -1) {
        complain("bind");
        close(listener); /* Best effort: the program ends anyway. */
        return -1;
    }
    if (listen(listener, BACKLOG) == -1) {
        complain("listen");
        close(listener); /* Best effort: the program ends anyway. */
        return -1;
    }
    return listener;
}

/* Best effort: a greeting does not depend on its log. */
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
        if (sent == -1 && errno == EINTR)
            continue;
        if (sent == -1)
            return -1;
        done += (size_t)sent;
    }
    return 0;
}

/* Sends the greeting; a client that has gone is no reason to end. */
static void greet(int connection)
{
    /* The NUL that ends a string in C is not a part of the greeting. */
    if (send_all(connection, greeting, sizeof(greeting) - 1) == -1)
        complain("send");
}

/* Serves one client after the other, for ever; -1 after a complaint. */
static int serve(int listener)
{
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof(peer);
        int connection = accept(listener, (struct sockaddr *)&peer, &length);
        if (connection == -1 && errno == EINTR)
            continue;
        if (connection == -1) {
            complain("accept");
            return -1;
        }
        print_peer(&peer);
        greet(connection);
        close(connection); /* Best effort: the kernel has the greeting. */
    }
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct sockaddr_in address;
    if (make_address(&options, &address) == -1)
        return 1;
    int listener = open_listener(&address);
    if (listener == -1)
        return 1;
    printf("listening\n");
    fflush(stdout); /* Best effort, like all of the log. */
    int result = serve(listener);
    close(listener); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
