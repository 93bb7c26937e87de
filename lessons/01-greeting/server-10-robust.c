/*
 * A greeting server: each client is accepted, is sent "Thank you for
 * connecting", and is closed.
 *
 * Run: build/lessons/01-greeting/server-10-robust -P 12345
 *      and, in a second terminal, telnet localhost 12345
 *
 * Changed since step 9: addresses of both families. Without -H one IPv6 socket
 * takes the clients of IPv4 as well; where the machine has no IPv6, an IPv4
 * socket takes its place. Nothing is written to standard output, whose reader
 * could hold the server up, and a lost reader of standard error does not end it
 * by SIGPIPE. SOCK_CLOEXEC keeps the sockets from programs that it may start.
 *
 * Still wrong:
 * - What a client sends later still makes a reset. Never mended here, because
 *   to wait for it keeps the other clients waiting: lesson 02 shows how.
 * - If standard error is a full pipe, a complaint waits for its reader. Never
 *   mended, because an error must not be lost.
 */
#define _GNU_SOURCE /* ppoll(2), accept4(2): not in POSIX before 2024 */

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
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

/* The addresses to listen at, for freeaddrinfo(3); NULL after a complaint. */
static struct addrinfo *resolve(const struct options *options)
{
    struct addrinfo hints;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    struct addrinfo *list = NULL;
    int error = getaddrinfo(options->host, options->port, &hints, &list);
    if (error == 0)
        return list;
    /* Errors of the resolver have numbers of their own, apart from errno. */
    fprintf(stderr, "%s: resolve %s: %s\n", program,
            options->host != NULL ? options->host : "any address",
            error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
    return NULL;
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
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL); /* for standard error */
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
static int open_listener(const struct addrinfo *address)
{
    int listener = socket(address->ai_family,
                          address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
                          address->ai_protocol);
    if (listener == -1) {
        complain("socket");
        return -1;
    }
    int yes = 1;
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) ==
        -1) {
        complain("setsockopt");
        close(listener); /* Best effort: another address may do. */
        return -1;
    }
    int no = 0; /* IPv4 too: its clients are seen as ::ffff:127.0.0.1. */
    if (address->ai_family == AF_INET6 &&
        setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no)) ==
            -1) {
        complain("setsockopt");
        close(listener); /* Best effort: another address may do. */
        return -1;
    }
    if (bind(listener, address->ai_addr, address->ai_addrlen) == -1) {
        complain("bind");
        close(listener); /* Best effort: another address may do. */
        return -1;
    }
    if (listen(listener, BACKLOG) == -1) {
        complain("listen");
        close(listener); /* Best effort: another address may do. */
        return -1;
    }
    return listener;
}

/* Listens at the first address that can be had, one of IPv6 if there is one;
 * -1 after a complaint for each. */
static int open_first(const struct addrinfo *list)
{
    static const int families[] = {AF_INET6, AF_INET};
    int listener = -1;
    for (int i = 0; i < 2; i++)
        for (const struct addrinfo *at = list; at != NULL; at = at->ai_next)
            if (listener == -1 && at->ai_family == families[i])
                listener = open_listener(at);
    return listener;
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
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection == -1) {
            if (after_failed_accept(listener, &told) == -1)
                return -1;
            continue;
        }
        told = false;
        greet(connection);
        drain(connection);
        close(connection); /* Best effort: the kernel has the greeting. */
    }
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct addrinfo *list = resolve(&options);
    if (list == NULL)
        return 1;
    catch_stop_signals();
    int listener = open_first(list);
    freeaddrinfo(list);
    if (listener == -1)
        return 1;
    int result = serve(listener);
    close(listener); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
