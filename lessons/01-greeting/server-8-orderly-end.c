/*
 * A greeting server: each client is accepted, is sent "Thank you for
 * connecting", and is closed.
 *
 * Run: build/lessons/01-greeting/server-8-orderly-end -P 12345
 *      and, in a second terminal, telnet localhost 12345
 *
 * Changed since step 7: SIGINT and SIGTERM end the program in order, with
 * status 0. Both are blocked but for the time inside ppoll(2), where the
 * program waits, so that none is lost between the look at `stop` and the wait.
 * The listening socket is non-blocking: accept(2) must not wait as well. No
 * other call can: a greeting always finds room in a new connection.
 *
 * Still wrong:
 * - It takes numbers for -H, and no name (9).
 * - It knows IPv4 only, and a standard output that is stuck stops it (10).
 * - What a client sends later still makes a reset. Never mended here, because
 *   to wait for it keeps the other clients waiting: lesson 02 shows how.
 */
#define _GNU_SOURCE /* ppoll(2): not in POSIX before 2024 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
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
#define PAUSE_MS 100
#define DRAIN_READS 64 /* of 1024 bytes, at most */

struct options {
    const char *host; /* NULL: every address of this machine */
    const char *port;
};

static const char *program = "server";
static volatile sig_atomic_t stop;
static sigset_t waiting_mask; /* the signals blocked while we wait */
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

static void note_stop(int signal_number)
{
    (void)signal_number;
    stop = 1;
}

/* Best effort: these calls fail only for wrong arguments. */
static void catch_stop_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = note_stop;
    sigemptyset(&action.sa_mask);
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigprocmask(SIG_BLOCK, &stops, &waiting_mask);
    sigdelset(&waiting_mask, SIGINT);
    sigdelset(&waiting_mask, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Whether a stop was asked for: noted, or still held back. */
static bool stopping(void)
{
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending); /* Best effort: the next ppoll(2) finds it too. */
    return stop || sigismember(&pending, SIGINT) == 1 ||
           sigismember(&pending, SIGTERM) == 1;
}

/* Waits for a client, a signal or the time limit (-1: none). */
static void wait_for(int listener, int limit_ms)
{
    struct pollfd wanted = {.fd = listener, .events = POLLIN};
    struct timespec limit = {.tv_sec = limit_ms / 1000,
                             .tv_nsec = limit_ms % 1000 * 1000000L};
    /* Best effort: if it fails, accept(2) is called once more. */
    ppoll(&wanted, 1, limit_ms == -1 ? NULL : &limit, &waiting_mask);
}

/* A listening socket; -1 after a complaint. */
static int open_listener(const struct sockaddr_in *address)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
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

/* Takes what the client has sent by now, and waits for nothing. */
static void drain(int connection)
{
    char rest[1024];
    for (int i = 0; i < DRAIN_READS; i++)
        if (recv(connection, rest, sizeof(rest), MSG_DONTWAIT) <= 0)
            return; /* Best effort: none is left, or the client is gone. */
}

/* 0 where accept(2) may be called again; -1 after a complaint. */
static int after_failed_accept(int listener, bool *told)
{
    switch (errno) {
    case EAGAIN: /* Nobody is there yet. */
        wait_for(listener, -1);
        return 0;
    case EINTR:
    case ECONNABORTED: /* The client left before it was accepted. */
    case EPROTO:       /* From here on: errors of the network, which Linux */
    case ENETDOWN:     /* hands to accept(2) for the new connection. */
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
    case EPERM: /* A rule of the firewall. */
        return 0;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (!*told)
            complain("accept"); /* once, not for every pause */
        *told = true;
        wait_for(-1, PAUSE_MS);
        return 0;
    default:
        complain("accept");
        return -1;
    }
}

/* Serves one client after the other until a stop; -1 after a complaint. */
static int serve(int listener)
{
    bool told = false;
    while (!stopping()) {
        struct sockaddr_in peer;
        socklen_t length = sizeof(peer);
        int connection = accept(listener, (struct sockaddr *)&peer, &length);
        if (connection == -1) {
            if (after_failed_accept(listener, &told) == -1)
                return -1;
            continue;
        }
        told = false;
        print_peer(&peer);
        greet(connection);
        drain(connection);
        close(connection); /* Best effort: the kernel has the greeting. */
    }
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct sockaddr_in address;
    if (make_address(&options, &address) == -1)
        return 1;
    catch_stop_signals();
    int listener = open_listener(&address);
    if (listener == -1)
        return 1;
    printf("listening\n");
    fflush(stdout); /* Best effort, like all of the log. */
    int result = serve(listener);
    close(listener); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
