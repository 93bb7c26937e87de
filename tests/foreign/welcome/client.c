/* A sound greeting client: read(2) and write(2), and a word about each address
 * that did not answer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int lament(const char *about, const char *reason)
{
    fprintf(stderr, "client: %s: %s\n", about, reason);
    return -1;
}

/* As connect(2), and a signal does not end it. */
static int join(int sock, const struct sockaddr *address, socklen_t size)
{
    if (connect(sock, address, size) == 0)
        return 0;
    if (errno == EINTR) {
        struct pollfd writable = { .fd = sock, .events = POLLOUT };
        int result = 0;
        socklen_t room = sizeof result;
        while (poll(&writable, 1, -1) < 0 && errno == EINTR)
            ;
        getsockopt(sock, SOL_SOCKET, SO_ERROR, &result, &room);
        errno = result;
        return result ? -1 : 0;
    }
    return -1;
}

static int visit(const char *host, const char *port)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
    int wrong = getaddrinfo(host, port, &hints, &list), sock = -1;

    if (wrong)
        return lament(host, wrong == EAI_SYSTEM ? strerror(errno)
                                                : gai_strerror(wrong));
    for (struct addrinfo *at = list; at && sock < 0; at = at->ai_next) {
        char where[100];
        sock = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (sock >= 0 && join(sock, at->ai_addr, at->ai_addrlen) == 0)
            break;
        int why = errno;
        if (sock >= 0)
            close(sock);
        sock = -1;
        if (getnameinfo(at->ai_addr, at->ai_addrlen, where, sizeof where, NULL,
                        0, NI_NUMERICHOST))
            strcpy(where, "an address");
        lament(where, strerror(why));
    }
    freeaddrinfo(list);
    return sock;
}

static int put(const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(STDOUT_FILENO, bytes, size);
        if (n < 0 && errno != EINTR)
            return lament("standard output", strerror(errno));
        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

static int print_greeting(int sock)
{
    char text[777], last = '\n';

    for (;;) {
        ssize_t n = read(sock, text, sizeof text);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return lament("read", strerror(errno));
        if (n == 0)
            return last == '\n' ? 0 : put("\n", 1);
        if (put(text, (size_t)n) < 0)
            return -1;
        last = text[n - 1];
    }
}

int main(int argc, char *argv[])
{
    const char *host = "127.0.0.1", *port = "12345";
    int letter, bad = 0;

    while ((letter = getopt(argc, argv, "H:P:")) != -1) {
        switch (letter) {
        case 'H': host = optarg; break;
        case 'P': port = optarg; break;
        default: bad = 1;
        }
    }
    if (bad || optind != argc || strlen(port) > 5 || atoi(port) < 1 ||
        strspn(port, "0123456789") < strlen(port) || atoi(port) > 65535) {
        fputs("usage: client [-H HOST] [-P PORT]\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int sock = visit(host, port);
    if (sock < 0)
        return EXIT_FAILURE;
    int result = print_greeting(sock);
    close(sock);
    return result ? EXIT_FAILURE : EXIT_SUCCESS;
}
