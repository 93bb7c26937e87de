/* A sound upper-case server: one client after the other, and a signal is a
 * byte in a pipe that poll() looks at beside the connection.
 */
#define _GNU_SOURCE
#include "foreign_capitals.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 2000, SECOND = 1000, PAUSE = 100, LINGER = 1000 };

static int listener = -1;
static int wakeup[2];           /* a pipe: written to by the signal's handler */
static bool stopped;
static long long last_ms;       /* the end of the second after a stop */

static void on_signal(int number)
{
    int kept = errno;
    char byte = (char)number;
    if (write(wakeup[1], &byte, 1) == -1)
        errno = kept;           /* it is full: there are enough of them */
    errno = kept;
}

static _Noreturn void quit(const char *what)
{
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long long time_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Waits for events of a descriptor, or only for the time to pass. Before a
 * stop that interrupts it, and is noted. True if there are events.
 */
static bool wait_for(int fd, short events, int limit_ms)
{
    struct pollfd both[2] = {{.fd = fd, .events = events},
                             {.fd = stopped ? -1 : wakeup[0],
                              .events = POLLIN}};
    int ready;
    while ((ready = poll(both, 2, limit_ms)) == -1)
        if (errno != EINTR)
            quit("poll");
    if (both[1].revents != 0) {
        stopped = true;
        last_ms = time_ms() + SECOND;
        close(listener);
        listener = -1;
    }
    return ready > 0 && both[0].revents != 0;
}

static int time_left(void)
{
    long long left = last_ms - time_ms();
    return !stopped ? -1 : left > 0 ? (int)left : 0;
}

/* 1 for some bytes, 0 at the end of the stream or of the program, -1. */
static int receive(int client, unsigned char *text, size_t room, size_t *got)
{
    for (;;) {
        ssize_t n = read(client, text, room);
        *got = n > 0 ? (size_t)n : 0;
        if (n >= 0)
            return n > 0;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -1;
        if (!wait_for(client, POLLIN, stopped ? 0 : -1) && stopped)
            return 0;           /* nothing is under way */
    }
}

static bool transmit(int client, const unsigned char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = write(client, text, length);
        if (n >= 0) {
            text += n;
            length -= (size_t)n;
        } else if (errno == EAGAIN) {
            if (!wait_for(client, POLLOUT, time_left()) && time_left() == 0)
                return false;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* One line, or what comes before the end of the stream. */
static bool serve(int client)
{
    unsigned char text[ROOM], upper[3 * ROOM];
    size_t held = 0, got, made;
    bool more = true;
    while (more) {
        int result = receive(client, text + held, ROOM - held, &got);
        if (result == -1)
            return false;
        size_t length = held + got;
        unsigned char *newline = memchr(text + held, '\n', got);
        if (newline != NULL)
            length = (size_t)(newline - text) + 1;
        more = result == 1 && newline == NULL;
        size_t used = make_capitals(text, length, more, upper, &made);
        if (!transmit(client, upper, made))
            return false;
        held = length - used;   /* the beginning of a character */
        memmove(text, text + used, held);
    }
    return true;
}

/* The rest of what the client sends is let pass, for a while: close() with
 * bytes unread would be a reset, and could cost the reply.
 */
static void see_off(int client)
{
    char rest[4096];
    long long end = time_ms() + LINGER;
    shutdown(client, SHUT_WR);
    for (long long now; !stopped && (now = time_ms()) < end;) {
        ssize_t n = read(client, rest, sizeof(rest));
        if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
            return;
        if (n == -1)
            wait_for(client, POLLIN, (int)(end - now));
    }
}

static void serve_next(void)
{
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client != -1) {
        if (serve(client))
            see_off(client);
        close(client);
        return;
    }
    switch (errno) {
    case EMFILE: case ENFILE: case ENOBUFS: case ENOMEM:
        wait_for(-1, 0, PAUSE);
        break;
    case EBADF: case EINVAL: case ENOTSOCK: case EFAULT:
        quit("accept");
    default:                    /* it was about one client */
        break;
    }
}

static void listen_at(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_family = AF_INET,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *address;
    if (host != NULL)
        hints.ai_family = AF_UNSPEC;
    int error = getaddrinfo(host, port, &hints, &address);
    if (error != 0) {
        fprintf(stderr, "server: %s: %s\n", host, gai_strerror(error));
        exit(1);
    }
    listener = socket(address->ai_family, address->ai_socktype |
                      SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
    if (listener == -1)
        quit("socket");
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, address->ai_addr, address->ai_addrlen) == -1)
        quit("bind");
    freeaddrinfo(address);
    if (listen(listener, 20) == -1)
        quit("listen");
}

int main(int argc, char *argv[])
{
    const char *host = NULL, *port = "12000";
    int option, wrong = 0;
    while ((option = getopt(argc, argv, "H:P:")) != -1)
        if (option == 'H')
            host = optarg;
        else if (option == 'P')
            port = optarg;
        else
            wrong = 1;
    if (wrong || optind < argc || strspn(port, "0123456789") != strlen(port) ||
        strlen(port) - 1 > 4 || atoi(port) > 65535) {
        fprintf(stderr, "usage: server [-H HOST] [-P PORT]\n");
        return 2;
    }
    if (pipe2(wakeup, O_NONBLOCK | O_CLOEXEC) == -1)
        quit("pipe");
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    listen_at(host, port);
    while (!stopped)
        if (wait_for(listener, POLLIN, -1) && !stopped)
            serve_next();
    return 0;
}
