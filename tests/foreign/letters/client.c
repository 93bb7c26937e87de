/* A sound client of the upper-case server: getline(), then one poll() for both
 * directions, with sendmsg() and recvmsg().
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct exchange {
    int server;
    char *line;                 /* with a newline, and so the reply has one */
    size_t length, sent;
    bool begun, whole;          /* the reply */
};

/* The line, or NULL where there is none; *status: whether that is right. */
static char *read_line(size_t *length, int *status)
{
    char *line = NULL;
    size_t room = 0;
    errno = 0;
    ssize_t got = getline(&line, &room, stdin);
    *status = 0;
    if (got > 0 && line[got - 1] != '\n') {
        char *longer = realloc(line, (size_t)got + 1);
        if (longer != NULL) {
            longer[got++] = '\n';
            line = longer;
        } else {
            got = -1;
        }
    }
    *length = (size_t)got;
    if (got > 0)
        return line;
    if (errno != 0) {
        perror("client: standard input");
        *status = 1;
    }
    free(line);
    return NULL;
}

static bool send_some(struct exchange *talk)
{
    struct iovec rest = {talk->line + talk->sent, talk->length - talk->sent};
    struct msghdr message = {.msg_iov = &rest, .msg_iovlen = 1};
    ssize_t n = sendmsg(talk->server, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0)
        talk->sent += (size_t)n;
    return n >= 0 || errno == EINTR || errno == EAGAIN;
}

/* Prints what has come, up to the newline. */
static bool receive_some(struct exchange *talk)
{
    char piece[3000];
    struct iovec room = {piece, sizeof(piece)};
    struct msghdr message = {.msg_iov = &room, .msg_iovlen = 1};
    ssize_t n = recvmsg(talk->server, &message, MSG_DONTWAIT);
    if (n == -1)
        return errno == EINTR || errno == EAGAIN;
    if (n == 0) {
        errno = ENODATA;
        return false;
    }
    if (!talk->begun)
        fputs("From Server: ", stdout);
    talk->begun = true;
    char *newline = memchr(piece, '\n', (size_t)n);
    talk->whole = newline != NULL;
    fwrite(piece, 1, newline != NULL ? (size_t)(newline - piece) + 1
                                     : (size_t)n, stdout);
    return true;
}

static int converse(struct exchange *talk)
{
    while (!talk->whole) {
        struct pollfd one = {.fd = talk->server, .events = POLLIN};
        if (talk->sent < talk->length)
            one.events |= POLLOUT;
        if (poll(&one, 1, -1) == -1) {
            if (errno == EINTR)
                continue;
            perror("client: poll");
            return 1;
        }
        if ((one.revents & ~POLLOUT) != 0 && !receive_some(talk)) {
            perror("client: recvmsg");
            return 1;
        }
        if ((one.revents & POLLOUT) != 0 && !send_some(talk)) {
            perror("client: sendmsg");
            return 1;
        }
    }
    return 0;
}

/* 0, or an error's number. */
static int connect_once(int sock, const struct addrinfo *address)
{
    if (connect(sock, address->ai_addr, address->ai_addrlen) == 0)
        return 0;
    if (errno != EINTR)
        return errno;
    struct pollfd one = {.fd = sock, .events = POLLOUT};
    while (poll(&one, 1, -1) == -1 && errno == EINTR)
        ;
    int error;
    socklen_t size = sizeof(error);
    getsockopt(sock, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

/* A connection, or -1 after a complaint. */
static int connect_to(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *first;
    int sock = -1, error = getaddrinfo(host, port, &hints, &first);
    if (error != 0) {
        fprintf(stderr, "client: %s: %s\n", host, gai_strerror(error));
        return -1;
    }
    for (struct addrinfo *each = first; each != NULL && sock == -1;
         each = each->ai_next) {
        sock = socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        error = sock == -1 ? errno : connect_once(sock, each);
        if (error != 0 && sock != -1) {
            close(sock);
            sock = -1;
        }
    }
    freeaddrinfo(first);
    if (sock == -1)
        fprintf(stderr, "client: connect: %s\n", strerror(error));
    return sock;
}

int main(int argc, char *argv[])
{
    const char *host = "127.0.0.1", *port = "12000";
    int option, wrong = 0;
    while ((option = getopt(argc, argv, "H:P:")) != -1)
        if (option == 'H')
            host = optarg;
        else if (option == 'P')
            port = optarg;
        else
            wrong = 1;
    if (wrong || optind < argc || strspn(port, "0123456789") != strlen(port) ||
        strlen(port) - 1 > 4 || atoi(port) - 1U > 65534) {
        fprintf(stderr, "usage: client [-H HOST] [-P PORT]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int status;
    struct exchange talk = {.server = connect_to(host, port)};
    if (talk.server == -1)
        return 1;
    talk.line = read_line(&talk.length, &status);
    if (talk.line != NULL)
        status = converse(&talk);
    if (fflush(stdout) == EOF || ferror(stdout)) {
        perror("client: standard output");
        status = 1;
    }
    free(talk.line);
    close(talk.server);
    return status;
}
