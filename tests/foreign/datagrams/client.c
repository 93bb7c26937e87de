/* A sound client for datagrams: a connected socket whose time limit is the
 * kernel's (SO_RCVTIMEO), twice as long at each try.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ROOM 65536
#define TRIES 4

static const char *why_not(void)
{
    return errno == EAGAIN ? "no answer has come" : strerror(errno);
}

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "client: %s: %s\n", what, why);
    return 1;
}

/* The next datagram of the server's, with the time limit of the socket. */
static ssize_t listen_once(int sock, char *answer)
{
    ssize_t length;
    do
        length = recv(sock, answer, ROOM, MSG_TRUNC);
    while (length == -1 && errno == EINTR);
    return length;
}

static int send_once(int sock, const char *line, size_t length)
{
    ssize_t sent;
    do
        sent = send(sock, line, length, 0);
    while (sent == -1 && errno == EINTR);
    return sent == -1 ? -1 : 0;
}

/* Asks until an answer comes. Its length, or -1. */
static ssize_t ask(int sock, const char *line, size_t length, char *answer)
{
    for (int try = 0; try < TRIES; try++) {
        struct timeval limit = {.tv_sec = 1 << try};
        if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit,
                       sizeof(limit)) == -1 ||
            send_once(sock, line, length) == -1)
            return -1;
        ssize_t got = listen_once(sock, answer);
        if (got != -1 || errno != EAGAIN)
            return got;
    }
    return -1;
}

/* The answer of the first address that gives one. */
static int converse(const struct addrinfo *list, const char *line,
                    size_t length)
{
    static char answer[ROOM];
    ssize_t got = -1;
    for (; list != NULL && got == -1; list = list->ai_next) {
        int sock = socket(list->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (sock == -1)
            return fail("socket", strerror(errno));
        if (connect(sock, list->ai_addr, list->ai_addrlen) == 0)
            got = ask(sock, line, length, answer);
        int error = errno;
        close(sock);
        errno = error;
    }
    if (got == -1)
        return fail("ask", why_not());
    if (got > ROOM)
        return fail("recv", "the answer is too long");
    fwrite(answer, 1, (size_t)got, stdout);
    putchar('\n');
    if (fflush(stdout) == EOF || ferror(stdout))
        return fail("standard output", strerror(errno));
    return 0;
}

static bool is_port(const char *text)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && number >= 1 &&
           number <= 65535;
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1", *port = "12000";
    bool good = true;
    for (int option; (option = getopt(argc, argv, "H:P:")) != -1;) {
        if (option == 'H')
            host = optarg;
        else if (option == 'P')
            port = optarg;
        else
            good = false;
    }
    if (!good || optind != argc || !is_port(port)) {
        fputs("usage: client [-H HOST] [-P PORT]\n", stderr);
        return 2;
    }

    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *list;
    int wrong = getaddrinfo(host, port, &hints, &list);
    if (wrong != 0)
        return fail(host, gai_strerror(wrong));
    char *line = NULL;
    size_t room = 0;
    errno = 0;
    ssize_t length = getline(&line, &room, stdin);
    int status = 0;
    if (length > 0)
        status = converse(list, line,
                          (size_t)length - (line[length - 1] == '\n'));
    else if (ferror(stdin) || errno != 0)
        status = fail("standard input", strerror(errno));
    free(line);
    freeaddrinfo(list);
    return status;
}
