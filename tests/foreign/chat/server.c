/*
 * chat server -- sound; pselect(), a linked list of people, a ring of bytes
 * for each of them, emptied by sendmsg() with two parts.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAXLINE 1024            /* with its newline */
#define RING    65536           /* kept for one person, at most */
#define PEOPLE  900
#define MSEC    1000000L        /* in nanoseconds */

struct line {
    size_t  len;
    char    text[MAXLINE];
};

struct person {
    LIST_ENTRY(person) entries;
    int         fd;
    int         gone;           /* to be buried */
    int         deaf;           /* has ended its stream: told no more */
    struct line said;           /* not whole yet */
    size_t      head, kept;     /* of the ring */
    char        ring[RING];
};

static LIST_HEAD(, person) people = LIST_HEAD_INITIALIZER(people);
static unsigned crowd;
static struct line typed;
static int listener = -1, operator_left;
static volatile sig_atomic_t quit;

static void
on_quit(int sig)
{
    (void)sig;
    quit = 1;
}

static void
warn_of(const char *what)
{
    fprintf(stderr, "server: %s: %m\n", what);
}

static void
die(const char *what)
{
    warn_of(what);
    exit(1);
}

static long long
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / MSEC;
}

/* Gives the kernel what it takes at once of what is kept. */
static void
empty_ring(struct person *p)
{
    while (p->kept > 0 && !p->gone) {
        size_t  straight = RING - p->head;
        struct iovec part[2] = {
            { p->ring + p->head, p->kept < straight ? p->kept : straight },
            { p->ring, p->kept < straight ? 0 : p->kept - straight } };
        struct msghdr msg = { .msg_iov = part, .msg_iovlen = 2 };
        ssize_t n = sendmsg(p->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1 && errno == EAGAIN)
            return;
        if (n == -1) {
            p->gone = 1;
            return;
        }
        p->head = (p->head + (size_t)n) % RING;
        p->kept -= (size_t)n;
    }
    if (p->deaf)
        p->gone = 1;
}

static void
tell(struct person *p, const struct line *l)
{
    size_t tail = (p->head + p->kept) % RING;
    size_t straight = RING - tail < l->len ? RING - tail : l->len;

    if (p->kept + l->len > RING) {
        p->gone = 1;            /* too slow */
        return;
    }
    memcpy(p->ring + tail, l->text, straight);
    memcpy(p->ring, l->text + straight, l->len - straight);
    p->kept += l->len;
    empty_ring(p);
}

static void
tell_all(const struct person *speaker, struct line *l)
{
    struct person *p;

    LIST_FOREACH(p, &people, entries)
        if (p != speaker && !p->gone && !p->deaf)
            tell(p, l);
    l->len = 0;
}

/* Adds what came; a line is told when it is whole, or too long. */
static void
add(struct line *l, const struct person *speaker, const char *buf, size_t n)
{
    for (; n > 0; n--, buf++) {
        if (l->len == MAXLINE - 1 && *buf != '\n') {
            l->text[l->len++] = '\n';
            tell_all(speaker, l);
        }
        l->text[l->len++] = *buf;
        if (*buf == '\n')
            tell_all(speaker, l);
    }
}

/* One piece of what a person says; 0 if there is none for now. */
static int
hear(struct person *p)
{
    char    buf[4096];
    ssize_t n = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n > 0)
        add(&p->said, p, buf, (size_t)n);
    else if (n == 0)
        p->deaf = 1;
    else if (errno == EINTR)
        return 1;
    else if (errno != EAGAIN)
        p->gone = 1;
    if (p->deaf && p->kept == 0)
        p->gone = 1;
    return n > 0 && !p->gone;
}

static void
hear_operator(void)
{
    char    buf[4096];
    ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

    if (n > 0) {
        add(&typed, NULL, buf, (size_t)n);
    } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        operator_left = 1;
        if (typed.len > 0)
            add(&typed, NULL, "\n", 1);
    }
}

static void
bury(void)
{
    struct person *p, *next;

    for (p = LIST_FIRST(&people); p != NULL; p = next) {
        next = LIST_NEXT(p, entries);
        if (!p->gone)
            continue;
        LIST_REMOVE(p, entries);
        crowd--;
        close(p->fd);
        free(p);
    }
}

/* 0 if nobody more can be taken for a while. */
static int
welcome(void)
{
    struct person *p;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd == -1)
        return errno != EMFILE && errno != ENFILE && errno != ENOMEM &&
            errno != ENOBUFS;
    p = fd < FD_SETSIZE ? malloc(sizeof(*p)) : NULL;
    if (p == NULL) {
        warn_of("a client is refused");
        close(fd);
        return 1;
    }
    p->fd = fd;
    p->gone = p->deaf = 0;
    p->said.len = p->head = p->kept = 0;
    LIST_INSERT_HEAD(&people, p, entries);
    crowd++;
    return 1;
}

/* Waits for what can be done, and does it. */
static void
turn(const sigset_t *mask, long long until)
{
    static long long closed_until;
    struct person *p, *next;
    struct timespec ts;
    fd_set  in, out;
    int     most = STDIN_FILENO, n;
    long long now = now_ms();
    int     open = listener != -1 && crowd < PEOPLE && now >= closed_until;

    FD_ZERO(&in);
    FD_ZERO(&out);
    if (!operator_left)
        FD_SET(STDIN_FILENO, &in);
    if (open)
        FD_SET(listener, &in);
    most = listener > most ? listener : most;
    LIST_FOREACH(p, &people, entries) {
        if (!p->deaf)
            FD_SET(p->fd, &in);
        if (p->kept > 0)
            FD_SET(p->fd, &out);
        most = p->fd > most ? p->fd : most;
    }
    if (until == 0 && !open && crowd < PEOPLE)
        until = closed_until;
    if (until != 0) {
        long long left = until > now ? until - now : 0;

        ts.tv_sec = left / 1000;
        ts.tv_nsec = left % 1000 * MSEC;
    }
    n = pselect(most + 1, &in, &out, NULL, until != 0 ? &ts : NULL, mask);
    if (n == -1 && errno != EINTR)
        die("pselect");
    if (n <= 0)
        return;
    for (p = LIST_FIRST(&people); p != NULL; p = next) {
        next = LIST_NEXT(p, entries);
        if (FD_ISSET(p->fd, &out) && !p->gone)
            empty_ring(p);
        if (FD_ISSET(p->fd, &in) && !p->gone)
            hear(p);
    }
    if (!operator_left && FD_ISSET(STDIN_FILENO, &in))
        hear_operator();
    bury();
    if (open && FD_ISSET(listener, &in) && !welcome())
        closed_until = now_ms() + 100;
}

/* What has come is handed on, and what is kept is sent: in one second. */
static void
finish(const sigset_t *mask)
{
    long long until = now_ms() + 1000;
    struct person *p;

    close(listener);
    listener = -1;
    operator_left = 1;
    LIST_FOREACH(p, &people, entries)
        while (!p->gone && !p->deaf && now_ms() < until && hear(p))
            continue;
    LIST_FOREACH(p, &people, entries) {
        p->deaf = 1;
        empty_ring(p);
    }
    bury();
    while (!LIST_EMPTY(&people) && now_ms() < until)
        turn(mask, until);
    LIST_FOREACH(p, &people, entries)
        p->gone = 1;
    bury();
}

static void
start_listening(const char *host, const char *port)
{
    struct addrinfo hints = { .ai_family = host != NULL ? 0 : AF_INET,
        .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *ai;
    int on = 1, e = getaddrinfo(host, port, &hints, &ai);

    if (e != 0) {
        fprintf(stderr, "server: %s: %s\n", host, gai_strerror(e));
        exit(1);
    }
    if ((listener = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK |
        SOCK_CLOEXEC, 0)) == -1)
        die("socket");
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1)
        die("setsockopt");
    if (bind(listener, ai->ai_addr, ai->ai_addrlen) == -1)
        die("bind");
    if (listen(listener, SOMAXCONN) == -1)
        die("listen");
    freeaddrinfo(ai);
}

static int
is_port(const char *s)
{
    return *s != '\0' && strlen(s) <= 5 && s[strspn(s, "0123456789")] == '\0' &&
        atoi(s) <= 65535;
}

int
main(int argc, char *argv[])
{
    const char *host = NULL, *port = "50001";
    struct sigaction sa = { .sa_handler = on_quit };
    sigset_t stops, mask;
    int     ch, wrong = 0;

    while ((ch = getopt(argc, argv, "H:P:")) != -1)
        switch (ch) {
        case 'H':
            host = optarg;
            break;
        case 'P':
            port = optarg;
            break;
        default:
            wrong = 1;
        }
    if (wrong || optind != argc || !is_port(port)) {
        fputs("usage: server [-H HOST] [-P PORT]\n", stderr);
        return 2;
    }
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigprocmask(SIG_BLOCK, &stops, &mask);
    sigdelset(&mask, SIGINT);
    sigdelset(&mask, SIGTERM);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    start_listening(host, port);
    while (!quit)
        turn(&mask, 0);
    finish(&mask);
    return 0;
}
