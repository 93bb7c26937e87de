/* A sound client for uploads: read(2) into one buffer, and a socket that never
 * blocks, so that a refusal is heard in the middle of the data.
 */
#define _GNU_SOURCE

#include "ss_sha256.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 44, PATIENCE_MS = 300 };

static int sock = -1;
static char piece[1 << 16];

static void usage(void)
{
    fprintf(stderr, "usage: %s [-D] [-H HOST] [-P PORT] -F FILE\n",
            program_invocation_short_name);
    exit(2);
}

/* Waits; true if the socket has something to read. */
static bool wait_readable(short events, int limit_ms)
{
    struct pollfd one = {.fd = sock, .events = events};
    while (poll(&one, 1, limit_ms) == -1)
        if (errno != EINTR)
            err(1, "poll");
    return (one.revents & ~POLLOUT) != 0;
}

/* What there is to read, at least one byte, up to the end of the stream. */
static size_t hear(char *text, size_t room)
{
    for (;;) {
        ssize_t n = recv(sock, text, room, 0);
        if (n > 0)
            return (size_t)n;
        if (n == 0)
            errx(1, "receive: the server has ended the connection");
        if (errno == EAGAIN)
            wait_readable(POLLIN, -1);
        else if (errno != EINTR)
            err(1, "receive");
    }
}

/* Something else came than was due: that is the end, told with the rest of
 * it, which may take a moment. */
static _Noreturn void refused(char *text, size_t length, size_t room)
{
    while (length < room && wait_readable(POLLIN, PATIENCE_MS)) {
        ssize_t n = recv(sock, text + length, room - length, 0);
        if (n == 0 || (n == -1 && errno != EINTR && errno != EAGAIN))
            break;
        length += n > 0 ? (size_t)n : 0;
    }
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 32 || text[i] == 127)
            text[i] = '.';
    errx(1, "the server refuses: %.*s", (int)length, text);
}

static void await(const char *due)
{
    char text[500];
    size_t wanted = strlen(due), length = 0;
    while (length < wanted) {
        length += hear(text + length, wanted - length);
        if (memcmp(text, due, length) != 0)
            refused(text, length, sizeof(text));
    }
    puts(due);
    fflush(stdout);
}

static void send_whole(const void *data, size_t length)
{
    const char *next = data;
    while (length > 0) {
        char text[500];
        if (wait_readable(POLLIN | POLLOUT, -1))
            refused(text, hear(text, sizeof(text)), sizeof(text));
        ssize_t n = send(sock, next, length, MSG_NOSIGNAL);
        if (n >= 0) {
            next += n;
            length -= (size_t)n;
        } else if (errno != EINTR && errno != EAGAIN && errno != EPIPE) {
            err(1, "send");             /* of EPIPE recv() tells more */
        }
    }
}

static size_t read_piece(int file, size_t room)
{
    ssize_t n;
    while ((n = read(file, piece, room)) == -1)
        if (errno != EINTR)
            err(1, "read");
    return (size_t)n;
}

static void digest_of(int file, unsigned char digest[SS_SHA256_BYTES])
{
    struct ss_sha256 sum;
    ss_sha256_start(&sum);
    for (size_t n; (n = read_piece(file, sizeof(piece))) > 0;)
        ss_sha256_add(&sum, piece, n);
    ss_sha256_end(&sum, digest);
    if (lseek(file, 0, SEEK_SET) == -1)
        err(1, "seek");
}

static void announce_by_header(int file, const char *name, uint64_t size)
{
    unsigned char header[HEADER] = {0, 1};
    size_t length = strlen(name);
    header[2] = (unsigned char)(length >> 8);
    header[3] = (unsigned char)length;
    for (int i = 0; i < 8; i++)
        header[4 + i] = (unsigned char)(size >> (56 - 8 * i));
    digest_of(file, header + 12);
    send_whole(header, sizeof(header));
    send_whole(name, length);
    await("[+] server : header query ok");
}

static void announce(const char *name, uint64_t size)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%llu", (unsigned long long)size);
    send_whole(name, strlen(name));
    await("[+] server : filename query ok");
    send_whole(digits, strlen(digits));
    await("[+] server : filesize query ok");
}

static void send_file(int file, uint64_t size)
{
    bool watched = isatty(STDOUT_FILENO);
    for (uint64_t left = size; left > 0;) {
        size_t n = read_piece(file, left < sizeof(piece) ? (size_t)left
                                                         : sizeof(piece));
        if (n == 0)
            errx(1, "read: the file has become shorter");
        send_whole(piece, n);
        left -= n;
        if (watched)
            printf("\r%3.0f %%", 100.0 * (double)(size - left) / (double)size);
    }
    if (watched)
        puts("\r100 %");
    shutdown(sock, SHUT_WR);
}

/* The first address that takes the connection. */
static void reach(const char *host, const char *port)
{
    struct addrinfo wish = {.ai_socktype = SOCK_STREAM,
                            .ai_flags = AI_NUMERICSERV}, *list;
    int wrong = getaddrinfo(host, port, &wish, &list), why = 0;
    if (wrong != 0)
        errx(1, "%s: %s", host, gai_strerror(wrong));
    for (struct addrinfo *at = list; at != NULL && sock == -1;
         at = at->ai_next) {
        sock = socket(at->ai_family,
                      at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (sock == -1)
            err(1, "socket");
        why = connect(sock, at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
        if (why == EINPROGRESS || why == EINTR) {
            socklen_t size = sizeof(why);
            wait_readable(POLLOUT, -1);
            getsockopt(sock, SOL_SOCKET, SO_ERROR, &why, &size);
        }
        if (why != 0) {
            close(sock);
            sock = -1;
        }
    }
    freeaddrinfo(list);
    errno = why;
    if (sock == -1)
        err(1, "connect to %s", host);
}

int main(int argc, char *argv[])
{
    const char *host = "127.0.0.1", *port = "50000", *path = NULL;
    bool with_header = false;
    for (int c; (c = getopt(argc, argv, "DH:P:F:")) != -1;) {
        if (c == 'D')
            with_header = true;
        else if (c == 'H')
            host = optarg;
        else if (c == 'P')
            port = optarg;
        else if (c == 'F')
            path = optarg;
        else
            usage();
    }
    if (path == NULL || optind < argc || *port == '\0' || strlen(port) > 5 ||
        port[strspn(port, "0123456789")] != '\0' || atoi(port) > 65535 ||
        atoi(port) == 0)
        usage();

    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat facts;
    if (file == -1 || fstat(file, &facts) == -1)
        err(1, "%s", path);
    if (!S_ISREG(facts.st_mode))
        errx(1, "%s: it is no regular file", path);
    reach(host, port);
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    if (with_header)
        announce_by_header(file, name, (uint64_t)facts.st_size);
    else
        announce(name, (uint64_t)facts.st_size);
    send_file(file, (uint64_t)facts.st_size);
    await("[+] server : finished transferring file");
    close(sock);
    close(file);
    if (ferror(stdout) || fclose(stdout) == EOF)
        err(1, "standard output");
    return 0;
}
