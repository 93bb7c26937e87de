/* A sound greeting server that waits for signals and for nothing else: a
 * client at the door is a SIGIO (fcntl(2), F_SETOWN), the end a SIGTERM. One
 * socket takes the clients of both families.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char greeting[] = { "Thank you for connecting" };

static void fatal(const char *step, const char *reason)
{
    fprintf(stderr, "server: %s: %s\n", step, reason);
    exit(EXIT_FAILURE);
}

static void greet(int guest)
{
    size_t said = 0;
    char ignored[512];

    while (said < sizeof greeting - 1) {
        ssize_t n = send(guest, greeting + said, sizeof greeting - 1 - said,
                         MSG_NOSIGNAL);
        if (n >= 0)
            said += (size_t)n;
        else if (errno != EINTR)
            break;              /* gone; a new socket has room for so little */
    }
    /* What is unread at the close would make a reset of it. */
    for (int i = 0; i < 100; i++) {
        ssize_t n = recv(guest, ignored, sizeof ignored, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
    }
    close(guest);
}

/* Lets in all who wait. The result is 0 if it can't go on just now. */
static int open_door(int door)
{
    for (;;) {
        int guest = accept4(door, NULL, NULL, SOCK_CLOEXEC);
        if (guest >= 0) {
            greet(guest);
            continue;
        }
        switch (errno) {
        case EAGAIN:
            return 1;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            return 0;
        case EBADF:
        case EINVAL:
        case ENOTSOCK:
        case EFAULT:
            fatal("accept", strerror(errno));
        }
    }
}

/* A bound socket of that family, or -1. */
static int bound(const struct addrinfo *at, const char **step)
{
    int yes = 1, no = 0;
    int door = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                      0);

    *step = "socket";
    if (door < 0)
        return -1;
    *step = "bind";
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (at->ai_family == AF_INET6)
        setsockopt(door, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if (bind(door, at->ai_addr, at->ai_addrlen) == 0)
        return door;
    int kept = errno;
    close(door);
    errno = kept;
    return -1;
}

/* At the first address that can be had; "::" stands for all of them, and is
 * tried before "0.0.0.0".
 */
static int make_door(const char *host, const char *port)
{
    static const char *everywhere[] = { "::", "0.0.0.0" };
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list;
    const char *step = "resolve";
    int door = -1;

    for (int i = 0; i < (host ? 1 : 2) && door < 0; i++) {
        const char *name = host ? host : everywhere[i];
        int wrong = getaddrinfo(name, port, &hints, &list);
        if (wrong == EAI_ADDRFAMILY && !host)
            continue;           /* no IPv6 at all */
        if (wrong)
            fatal(name, gai_strerror(wrong));
        for (struct addrinfo *at = list; at && door < 0; at = at->ai_next)
            door = bound(at, &step);
        freeaddrinfo(list);
    }
    if (door < 0)
        fatal(step, strerror(errno));
    if (listen(door, 32) < 0)
        fatal("listen", strerror(errno));
    return door;
}

int main(int argc, char *argv[])
{
    const char *host = NULL, *port = "12345";
    int letter, bad = 0;

    while ((letter = getopt(argc, argv, "H:P:")) != -1) {
        switch (letter) {
        case 'H': host = optarg; break;
        case 'P': port = optarg; break;
        default: bad = 1;
        }
    }
    if (bad || optind != argc || !*port || strlen(port) > 5 ||
        strspn(port, "0123456789") < strlen(port) || atoi(port) > 65535) {
        fputs("usage: server [-H HOST] [-P PORT]\n", stderr);
        return 2;
    }

    sigset_t news;
    sigemptyset(&news);
    sigaddset(&news, SIGIO);
    sigaddset(&news, SIGINT);
    sigaddset(&news, SIGTERM);
    sigprocmask(SIG_BLOCK, &news, NULL);

    int door = make_door(host, port);
    if (fcntl(door, F_SETOWN, getpid()) < 0 ||
        fcntl(door, F_SETFL, O_NONBLOCK | O_ASYNC) < 0)
        fatal("fcntl", strerror(errno));
    for (int told = SIGIO; told != SIGINT && told != SIGTERM;) {
        struct timespec pause = { .tv_nsec = 100000000 };
        if (open_door(door))
            told = sigwaitinfo(&news, NULL);
        else
            told = sigtimedwait(&news, NULL, &pause);
    }
    close(door);
    return EXIT_SUCCESS;
}
