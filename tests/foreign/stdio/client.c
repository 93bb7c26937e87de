/* A sound echo client with stdio on its socket: one stream for each direction,
 * over a descriptor of its own (dup), and fflush() after each line.
 *
 * Two threads, since a stream can only wait: one for what is typed, the other
 * for the replies. The latter's end is that of the program.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static FILE *to_server, *from_server;
static atomic_int asked;            /* lines that were sent */
static atomic_int trouble;          /* errno of the thread that sends */

/* All streams but the locked standard input are flushed here. */
static _Noreturn void leave(int status)
{
    if (fclose(stdout) == EOF && status == 0) {
        perror("client: standard output");
        status = 1;
    }
    _exit(status);
}

static _Noreturn void leave_because(const char *what, const char *why)
{
    fprintf(stderr, "client: %s: %s\n", what, why);
    leave(1);
}

/* One line and its newline; EOF, with errno, if it can't be sent. */
static int send_line(const char *line, size_t length)
{
    asked++;
    if (fwrite(line, 1, length, to_server) != length)
        return EOF;
    if (line[length - 1] != '\n' && putc('\n', to_server) == EOF)
        return EOF;
    return fflush(to_server);
}

static void *send_lines(void *unused)
{
    char *line = NULL;
    size_t room = 0;
    int result = 0;
    while (result == 0) {
        errno = 0;
        ssize_t length = getline(&line, &room, stdin);
        if (length == -1) {
            result = errno == 0 ? 0 : EOF;
            break;
        }
        if (length == 1 && line[0] == '\n')
            break;
        result = send_line(line, (size_t)length);
    }
    trouble = result == 0 ? 0 : errno;
    free(line);
    /* The other stream may be read on; after a failure nothing is awaited. */
    shutdown(fileno(to_server), result == 0 ? SHUT_WR : SHUT_RDWR);
    return unused;
}

/* Prints replies, up to the end of the stream; the number of whole ones. */
static int print_replies(void)
{
    int replies = 0, last = '\n';
    for (int c; (c = getc(from_server)) != EOF; last = c) {
        if (putchar(c) == EOF)
            break;
        replies += c == '\n';
        if (c == '\n' && fflush(stdout) == EOF)
            break;
    }
    if (ferror(stdout))
        leave_because("standard output", strerror(errno));
    if (ferror(from_server))
        leave_because("getc", strerror(errno));
    if (last != '\n')
        putchar('\n');
    return replies;
}

static int connect_within(int sock, const struct addrinfo *address)
{
    if (connect(sock, address->ai_addr, address->ai_addrlen) == 0)
        return 0;
    if (errno != EINTR)
        return errno;
    struct pollfd done = {.fd = sock, .events = POLLOUT};
    while (poll(&done, 1, -1) == -1 && errno == EINTR)
        continue;
    int error;
    socklen_t size = sizeof(error);
    return getsockopt(sock, SOL_SOCKET, SO_ERROR, &error, &size) == -1
               ? errno : error;
}

static int open_connection(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int sock = -1, error = getaddrinfo(host, port, &hints, &list);
    if (error != 0)
        leave_because(host, gai_strerror(error));
    for (struct addrinfo *each = list; each != NULL; each = each->ai_next) {
        sock = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
        if (sock == -1)
            leave_because("socket", strerror(errno));
        error = connect_within(sock, each);
        if (error == 0)
            break;
        close(sock);
    }
    freeaddrinfo(list);
    if (error != 0)
        leave_because("connect", strerror(error));
    return sock;
}

static void open_streams(int sock)
{
    int other = dup(sock);          /* fclose() of one must not close both */
    from_server = fdopen(sock, "r");
    to_server = other != -1 ? fdopen(other, "w") : NULL;
    if (from_server == NULL || to_server == NULL)
        leave_because("fdopen", strerror(errno));
    setvbuf(to_server, NULL, _IOFBF, 1 << 14);
}

static int usage(void)
{
    fputs("usage: client [-H HOST] [-P PORT]\n", stderr);
    return 2;
}

int main(int argc, char *argv[])
{
    const char *host = "127.0.0.1", *port = "9090";
    int option;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            host = optarg;
        else if (option == 'P')
            port = optarg;
        else
            return usage();
    }
    char junk;
    unsigned number;
    if (optind < argc || port[0] < '0' || port[0] > '9' || strlen(port) > 5 ||
        sscanf(port, "%u%c", &number, &junk) != 1 || number < 1 ||
        number > 65535)
        return usage();

    signal(SIGPIPE, SIG_IGN);
    open_streams(open_connection(host, port));
    pthread_t sender;
    int error = pthread_create(&sender, NULL, send_lines, NULL);
    if (error != 0)
        leave_because("thread", strerror(error));
    int replies = print_replies();
    if (trouble != 0)
        leave_because("send or read", strerror(trouble));
    if (replies < asked)
        leave_because("getc", "the server ended before its last reply");
    leave(0);
}
