// A sound echo client for AF_UNIX and TCP: one thread sends what is typed, the
// other prints what comes, and both calls may wait.

#define _GNU_SOURCE
#include <errno.h>
#include <error.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int server;
static atomic_long linesSent, linesPrinted;
static atomic_int sendError, inputError;

// Writes all of it; 0 or the error.
static int writeAll(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t done = write(fd, data, length);
        if (done == -1 && errno != EINTR)
            return errno;
        if (done > 0) {
            data += done;
            length -= (size_t)done;
        }
    }
    return 0;
}

// The bytes up to an empty line; *lineBegins is kept from piece to piece.
static size_t beforeEmptyLine(const char *data, size_t length, int *lineBegins)
{
    for (size_t i = 0; i < length; i++) {
        if (data[i] == '\n' && *lineBegins)
            return i;
        *lineBegins = data[i] == '\n';
        linesSent += data[i] == '\n';
    }
    return length;
}

// The sender. Its end, and its failure, show as the end of the stream to the
// one who prints.
static void *sendTyped(void *nothing)
{
    char piece[4096];
    int lineBegins = 1, over = 0;
    while (!over && sendError == 0) {
        ssize_t got = read(STDIN_FILENO, piece, sizeof(piece));
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1)
            inputError = errno;
        size_t length = got > 0 ? (size_t)got : 0;
        size_t wanted = beforeEmptyLine(piece, length, &lineBegins);
        over = got <= 0 || wanted < length;
        sendError = writeAll(server, piece, wanted);
    }
    if (!lineBegins && sendError == 0) {        // the last line lacks its end
        linesSent++;
        sendError = writeAll(server, "\n", 1);
    }
    shutdown(server, sendError == 0 ? SHUT_WR : SHUT_RDWR);
    return nothing;
}

// The printer, up to the end of the stream.
static void printReplies(void)
{
    char piece[4096];
    for (;;) {
        ssize_t got = read(server, piece, sizeof(piece));
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1)
            error(1, errno, "read");
        if (got == 0)
            return;
        for (ssize_t i = 0; i < got; i++)
            linesPrinted += piece[i] == '\n';
        int why = writeAll(STDOUT_FILENO, piece, (size_t)got);
        if (why != 0)
            error(1, why, "standard output");
    }
}

static int connectSocket(int fd, const struct sockaddr *address,
                         socklen_t length)
{
    if (connect(fd, address, length) == 0)
        return 0;
    if (errno != EINTR)
        return errno;
    struct pollfd one = {.fd = fd, .events = POLLOUT};
    while (poll(&one, 1, -1) == -1 && errno == EINTR)
        continue;
    int why;
    socklen_t size = sizeof(why);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size);
    return why;
}

static void connectPath(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    int isAbstract = path[0] == '@';
    if (length + !isAbstract > sizeof(address.sun_path))
        error(1, ENAMETOOLONG, "path %s", path);
    memcpy(address.sun_path, path, length);
    if (isAbstract)
        address.sun_path[0] = '\0';
    server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server == -1)
        error(1, errno, "socket");
    int why = connectSocket(server, (struct sockaddr *)&address,
                            (socklen_t)(offsetof(struct sockaddr_un, sun_path)
                                        + length + !isAbstract));
    if (why != 0)
        error(1, why, "connect %s", path);
}

static void connectPort(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int wrong = getaddrinfo(host, port, &hints, &list), why = 0;
    if (wrong != 0)
        error(1, 0, "resolve %s: %s", host, gai_strerror(wrong));
    for (struct addrinfo *one = list; one != NULL; one = one->ai_next) {
        server = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (server == -1)
            error(1, errno, "socket");
        why = connectSocket(server, one->ai_addr, one->ai_addrlen);
        if (why == 0)
            break;
        close(server);
    }
    freeaddrinfo(list);
    if (why != 0)
        error(1, why, "connect %s", host);
}

static void usage(void)
{
    fprintf(stderr, "usage: %s [-U PATH | [-H HOST] [-P PORT]]\n",
            program_invocation_short_name);
    exit(2);
}

int main(int argc, char *argv[])
{
    const char *path = NULL, *host = NULL, *port = NULL;
    char *end;
    for (int option; (option = getopt(argc, argv, "U:H:P:")) != -1;) {
        if (option == 'U' && strcmp(optarg, "") != 0 &&
            strcmp(optarg, "@") != 0)
            path = optarg;
        else if (option == 'H')
            host = optarg;
        else if (option == 'P' && optarg[0] >= '1' && optarg[0] <= '9' &&
                 strtoul(optarg, &end, 10) <= 65535 && *end == '\0')
            port = optarg;
        else
            usage();
    }
    if (optind != argc || (path != NULL && (host != NULL || port != NULL)))
        usage();
    signal(SIGPIPE, SIG_IGN);
    if (host != NULL || port != NULL)
        connectPort(host != NULL ? host : "127.0.0.1",
                    port != NULL ? port : "9090");
    else
        connectPath(path != NULL ? path : "echo.sock");

    pthread_t sender;
    int why = pthread_create(&sender, NULL, sendTyped, NULL);
    if (why != 0)
        error(1, why, "thread");
    printReplies();
    // The sender may wait for the keyboard still: it ends with the program.
    if (sendError != 0)
        error(1, sendError, "write");
    if (inputError != 0)
        error(1, inputError, "standard input");
    if (linesPrinted < linesSent)
        error(1, 0, "read: the server ended before its last reply");
    return 0;
}
