/*
 * splice - a sound echo server that sees no byte of its clients'
 *
 * splice(2) moves what comes into a pipe and from there back, for one client
 * at a time. A pipe has room for 64 KiB: what is in it is under way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST     65536
#define LAST_MS  1000

enum outcome { GO_ON, WOULD_WAIT, OVER };

static volatile sig_atomic_t stop_asked;
static sigset_t outside;        /* the signals that wait() lets in */
static int door = -1;
static long long end_ms;        /* 0: no end is in sight */

static void ask_to_stop(int sig)
{
    stop_asked = sig;
}

static int failed(const char *call)
{
    fprintf(stderr, "server: %s: %s\n", call, strerror(errno));
    return 1;
}

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1000LL * t.tv_sec + t.tv_nsec / 1000000;
}

static void close_door(void)
{
    if (end_ms == 0) {
        end_ms = now() + LAST_MS;
        close(door);
    }
}

/* Waits for one descriptor, at most for so long; -1: as long as it takes.
 * Result: whether it is ready. A signal ends the wait, and closes the door. */
static int wait(int fd, short events, long long ms)
{
    struct pollfd it = { .fd = fd, .events = events };
    struct timespec limit = { ms / 1000, ms % 1000 * 1000000 };
    int ready = ppoll(&it, 1, ms < 0 ? NULL : &limit, &outside);

    if (stop_asked)
        close_door();
    if (ready == -1 && errno != EINTR)
        exit(failed("ppoll"));
    return ready > 0;
}

static enum outcome move(int from, int to, size_t *bytes, size_t most)
{
    ssize_t n = splice(from, NULL, to, NULL, most,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

    *bytes = n > 0 ? (size_t)n : 0;
    if (n > 0 || (n == -1 && errno == EINTR))
        return GO_ON;
    return n == -1 && errno == EAGAIN ? WOULD_WAIT : OVER;
}

/* Up to the client's end, or to its loss, or to our own end. */
static void echo(int client, const int tube[2])
{
    size_t held = 0, n;

    for (;;) {
        if (held > 0) {
            enum outcome sent = move(tube[0], client, &n, held);

            held -= n;
            if (sent == OVER)
                return;
            if (sent == WOULD_WAIT) {
                long long left = end_ms == 0 ? -1 : end_ms - now();

                if (end_ms != 0 && left <= 0)
                    return;
                wait(client, POLLOUT, left);
            }
            continue;
        }
        switch (move(client, tube[1], &held, MOST)) {
        case OVER:
            return;
        case WOULD_WAIT:
            if (end_ms != 0)
                return;         /* nothing is under way */
            wait(client, POLLIN, -1);
            break;
        case GO_ON:
            break;
        }
    }
}

/* What the lost client has left in the pipe must not come to the next one. */
static void serve(int client)
{
    int tube[2];

    if (pipe2(tube, O_CLOEXEC | O_NONBLOCK) == -1) {
        failed("pipe");
    } else {
        echo(client, tube);
        close(tube[0]);
        close(tube[1]);
    }
    close(client);
}

static int serve_all(void)
{
    while (end_ms == 0) {
        int client;

        if (!wait(door, POLLIN, -1) || end_ms != 0)
            continue;
        client = accept4(door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client != -1)
            serve(client);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
                 errno == ENOMEM)
            wait(-1, 0, 100);
        else if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK)
            return failed("accept");
    }
    return 0;
}

static int open_door(const char *host, const char *port)
{
    struct addrinfo want = { .ai_family = host ? AF_UNSPEC : AF_INET,
        .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *got;
    int yes = 1, e = getaddrinfo(host, port, &want, &got);

    if (e != 0) {
        fprintf(stderr, "server: %s: %s\n", host, gai_strerror(e));
        return 1;
    }
    door = socket(got->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                  0);
    if (door == -1)
        return failed("socket");
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    e = bind(door, got->ai_addr, got->ai_addrlen);
    freeaddrinfo(got);
    if (e == -1)
        return failed("bind");
    return listen(door, SOMAXCONN) == -1 ? failed("listen") : 0;
}

int main(int argc, char **argv)
{
    const char *host = NULL, *port = "9090";
    struct sigaction act = { .sa_handler = ask_to_stop };
    sigset_t inside;
    int opt, right = 1;

    while ((opt = getopt(argc, argv, "H:P:")) != -1) {
        if (opt == 'H')
            host = optarg;
        else if (opt == 'P')
            port = optarg;
        else
            right = 0;
    }
    right = right && optind == argc && port[0] != '\0' && strlen(port) < 6 &&
        port[strspn(port, "0123456789")] == '\0' && atoi(port) < 65536;
    if (!right) {
        fprintf(stderr, "usage: server [-H HOST] [-P PORT]\n");
        return 2;
    }
    sigemptyset(&inside);
    sigaddset(&inside, SIGINT);
    sigaddset(&inside, SIGTERM);
    sigprocmask(SIG_BLOCK, &inside, &outside);
    sigdelset(&outside, SIGINT);
    sigdelset(&outside, SIGTERM);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (open_door(host, port) != 0)
        return 1;
    return serve_all();
}
