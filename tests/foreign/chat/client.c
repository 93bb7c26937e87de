/*
 * chat client -- sound; select(), one buffer for what is typed, write() for
 * what is heard.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    char    text[8192];
    size_t  from, to;           /* what is not sent yet */
    int     fresh;              /* a line begins here */
    int     over;
} typed = { .fresh = 1 };

static int server = -1;
static int said_bye;            /* our stream is ended */
static int mid_line;            /* of what is heard */

static void
die(const char *what)
{
    fprintf(stderr, "client: %s: %m\n", what);
    exit(1);
}

static void
type(void)
{
    ssize_t n = read(STDIN_FILENO, typed.text, sizeof(typed.text) - 1);
    char *p;

    if (n == -1) {
        if (errno != EINTR && errno != EAGAIN)
            die("standard input");
        return;
    }
    typed.from = 0;
    typed.to = (size_t)n;
    if (n == 0) {
        typed.over = 1;
        if (!typed.fresh)
            typed.text[typed.to++] = '\n';
        return;
    }
    for (p = typed.text; p < typed.text + n; p++) {
        if (*p == '\n' && typed.fresh) {        /* an empty line */
            typed.over = 1;
            typed.to = (size_t)(p - typed.text);
            return;
        }
        typed.fresh = *p == '\n';
    }
}

static void
speak(void)
{
    ssize_t n = send(server, typed.text + typed.from, typed.to - typed.from,
        MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n != -1)
        typed.from += (size_t)n;
    else if (errno != EINTR && errno != EAGAIN)
        die("send");
}

static void
print(const char *buf, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, buf, len);

        if (n == -1 && errno != EINTR)
            die("standard output");
        if (n > 0) {
            buf += n;
            len -= (size_t)n;
        }
    }
}

/* 0 at the end of the server's stream. */
static int
hear(void)
{
    char buf[8192];
    ssize_t n = recv(server, buf, sizeof(buf), MSG_DONTWAIT);

    if (n == -1) {
        if (errno != EINTR && errno != EAGAIN)
            die("recv");
        return 1;
    }
    if (n > 0) {
        mid_line = buf[n - 1] != '\n';
        print(buf, (size_t)n);
    }
    return n > 0;
}

static void
connect_to(const char *host, const char *port)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list, *ai;
    int e = getaddrinfo(host, port, &hints, &list);

    if (e != 0) {
        fprintf(stderr, "client: %s: %s\n", host, gai_strerror(e));
        exit(1);
    }
    for (ai = list; ai != NULL; ai = ai->ai_next) {
        if ((server = socket(ai->ai_family, ai->ai_socktype, 0)) == -1)
            die("socket");
        e = connect(server, ai->ai_addr, ai->ai_addrlen) == 0 ? 0 : errno;
        if (e == EINTR) {       /* the kernel goes on with it */
            struct pollfd pfd = { .fd = server, .events = POLLOUT };
            socklen_t len = sizeof(e);

            while (poll(&pfd, 1, -1) == -1 && errno == EINTR)
                continue;
            getsockopt(server, SOL_SOCKET, SO_ERROR, &e, &len);
        }
        if (e == 0)
            break;
        close(server);
    }
    freeaddrinfo(list);
    errno = e;
    if (ai == NULL)
        die("connect");
}

static void
usage(void)
{
    fputs("usage: client [-H HOST] [-P PORT]\n", stderr);
    exit(2);
}

int
main(int argc, char *argv[])
{
    const char *host = "127.0.0.1", *port = "50001";
    int ch;

    while ((ch = getopt(argc, argv, "H:P:")) != -1)
        switch (ch) {
        case 'H':
            host = optarg;
            break;
        case 'P':
            port = optarg;
            break;
        default:
            usage();
        }
    if (optind != argc || strlen(port) > 5 || atoi(port) < 1 ||
        atoi(port) > 65535 || port[strspn(port, "0123456789")] != '\0')
        usage();
    signal(SIGPIPE, SIG_IGN);
    connect_to(host, port);
    if (server >= FD_SETSIZE) {
        errno = EMFILE;
        die("socket");
    }
    for (;;) {
        fd_set in, out;
        int unsent = typed.from < typed.to;

        if (typed.over && !unsent && !said_bye) {
            shutdown(server, SHUT_WR);
            said_bye = 1;
        }
        FD_ZERO(&in);
        FD_ZERO(&out);
        FD_SET(server, &in);
        if (unsent)
            FD_SET(server, &out);
        else if (!typed.over)
            FD_SET(STDIN_FILENO, &in);
        if (select(server + 1, &in, &out, NULL, NULL) == -1) {
            if (errno != EINTR)
                die("select");
            continue;
        }
        if (FD_ISSET(server, &in) && !hear())
            break;
        if (FD_ISSET(server, &out))
            speak();
        if (FD_ISSET(STDIN_FILENO, &in))
            type();
    }
    close(server);
    if (mid_line)
        print("\n", 1);
    if (!said_bye || mid_line) {
        fprintf(stderr, "client: recv: the server has gone %s\n",
            mid_line ? "in the middle of a line" : "first");
        return 1;
    }
    return 0;
}
