/*
 * A client that sends a file: the name, then the size, each with an answer that
 * is printed, then the data.
 *
 * Run: build/lessons/07-file-transfer/client-7-progress -F FILE
 *      while a server listens on port 50000
 *
 * Changed since step 6: where standard output is a terminal, one line of it
 * shows how much has been sent, how fast, and how long the rest will take.
 * Sent means taken by this machine's kernel: the last of it may still be on
 * its way.
 *
 * Still wrong:
 * - Nothing tells the server whether it got the bytes that were sent (8).
 */
#define _GNU_SOURCE /* sendfile(2): not in POSIX */

#include "ss_connect.h"
#include "ss_io.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "50000"
#define BUFFER_SIZE 1024
#define REST_MS 300 /* for the rest of a refusal */
#define PIECE_SIZE (1 << 20)
#define SHOW_MS 200 /* from one look at the progress to the next */

struct options {
    const char *host;
    const char *port;
    const char *file;
};

struct progress {
    off_t size;
    off_t sent;
    long long begin_ms; /* on a clock that nobody sets */
    long long shown_ms;
};

static const char *program = "client";

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

static bool is_port(const char *text)
{
    /* strtol(3) allows blanks and a sign before the digits; a port does not. */
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    long port = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && port >= 1 && port <= 65535;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = DEFAULT_HOST, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:F:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg;
        else if (option == 'F')
            options.file = optarg;
        else
            right = false;
    }
    if (!right || options.file == NULL || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT] -F FILE\n", program);
        exit(2);
    }
    return options;
}

/* A connected socket; -1 after a complaint. */
static int open_connection(const struct options *options)
{
    int resolver;
    int server =
        ss_connect(options->host, options->port, SOCK_STREAM, NULL, &resolver);
    if (server == -1)
        fprintf(stderr, "%s: connect %s port %s: %s\n", program, options->host,
                options->port,
                resolver == 0 || resolver == EAI_SYSTEM
                    ? strerror(errno)
                    : gai_strerror(resolver));
    return server;
}

/* The open file and its size; -1 after a complaint. */
static int open_file(const char *path, off_t *size)
{
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat facts;
    if (file == -1 || fstat(file, &facts) == -1) {
        complain(path);
        if (file != -1)
            close(file); /* Best effort: nothing was written. */
        return -1;
    }
    if (!S_ISREG(facts.st_mode)) {
        fprintf(stderr, "%s: %s: not a regular file\n", program, path);
        close(file); /* Best effort: as above. */
        return -1;
    }
    *size = facts.st_size;
    return file;
}

/* Tells what came in place of the answer that is due; always -1. */
static int refused(int server, char reply[BUFFER_SIZE], size_t length)
{
    struct ss_deadline deadline;
    ss_deadline_set(&deadline, REST_MS);
    size_t got = 1;
    while (got > 0 && length < BUFFER_SIZE &&
           ss_recv_some(server, reply + length, BUFFER_SIZE - length, &deadline,
                        &got) == 0)
        length += got;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)reply[i] < ' ' || reply[i] == 0x7f)
            reply[i] = '?'; /* It could control the terminal. */
    fprintf(stderr, "%s: refused: %.*s\n", program, (int)length, reply);
    return -1;
}

/* Receives the answer that is due and prints it; -1 after a complaint. */
static int expect(int server, const char *due)
{
    char reply[BUFFER_SIZE];
    size_t length = 0;
    while (length < strlen(due)) {
        size_t got;
        if (ss_recv_some(server, reply + length, strlen(due) - length, NULL,
                         &got) == -1) {
            complain("recv");
            return -1;
        }
        if (got == 0) {
            fprintf(stderr, "%s: recv: server closed the connection\n",
                    program);
            return -1;
        }
        length += got;
        if (memcmp(reply, due, length) != 0)
            return refused(server, reply, length);
    }
    printf("%s\n", due);
    fflush(stdout);
    return 0;
}

/* Sends a name or a size and gets its answer; -1 after a complaint. */
static int ask(int server, const char *text, const char *due)
{
    size_t done;
    if (ss_send_all(server, text, strlen(text), NULL, &done) == -1) {
        complain("send");
        return -1;
    }
    return expect(server, due);
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* It always works on this clock. */
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Shows the progress to whoever watches, now and then and at the end. */
static void show(struct progress *progress)
{
    long long now = now_ms();
    bool done = progress->sent == progress->size;
    if (!isatty(STDOUT_FILENO) || (!done && now - progress->shown_ms < SHOW_MS))
        return;
    progress->shown_ms = now;
    double seconds = (double)(now - progress->begin_ms + 1) / 1000;
    double rate = (double)progress->sent / seconds;
    double left = (double)(progress->size - progress->sent);
    double share = progress->size == 0 ? 1 : 1 - left / (double)progress->size;
    printf("\r%3.0f %%, %.1f MB/s, ", 100 * share, rate / 1e6);
    if (done)
        printf("%.1f s     \n", seconds);
    else if (rate > 0)
        printf("%.0f s left   ", left / rate);
    fflush(stdout);
}

/* Waits until the server can take more; -1 after a complaint, also if it has
 * said something.
 */
static int wait_for_room(int server, struct progress *progress)
{
    struct pollfd wanted = {.fd = server, .events = POLLIN | POLLOUT};
    int limit_ms = isatty(STDOUT_FILENO) ? SHOW_MS : -1;
    int ready;
    while ((ready = poll(&wanted, 1, limit_ms)) < 1) {
        if (ready == -1 && errno != EINTR) {
            complain("poll");
            return -1;
        }
        show(progress);
    }
    if ((wanted.revents & ~POLLOUT) == 0)
        return 0;
    char reply[BUFFER_SIZE];
    size_t got;
    if (ss_recv_some(server, reply, sizeof(reply), NULL, &got) == -1) {
        complain("recv");
        return -1;
    }
    if (got > 0)
        return refused(server, reply, got);
    fprintf(stderr, "%s: recv: server closed the connection\n", program);
    return -1;
}

/* -1 after a complaint. */
static int send_data(int server, int file, off_t size)
{
    struct progress progress = {.size = size, .begin_ms = now_ms()};
    while (progress.sent < size) {
        if (wait_for_room(server, &progress) == -1)
            return -1;
        off_t left = size - progress.sent;
        size_t piece = left < PIECE_SIZE ? (size_t)left : PIECE_SIZE;
        ssize_t sent = sendfile(server, file, NULL, piece);
        if (sent == -1 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (sent == -1 && (errno == EPIPE || errno == ECONNRESET))
            continue; /* poll(2) says so too, after what the server said. */
        if (sent == -1) {
            complain("sendfile");
            return -1;
        }
        if (sent == 0) {
            fprintf(stderr, "%s: read: the file got shorter\n", program);
            return -1;
        }
        progress.sent += sent;
        show(&progress);
    }
    return 0;
}

/* The whole talk with the server; -1 after a complaint. */
static int transfer(int server, const char *path, int file, off_t size)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)size);
    if (ask(server, name, "[+] server : filename query ok") == -1 ||
        ask(server, text, "[+] server : filesize query ok") == -1 ||
        send_data(server, file, size) == -1)
        return -1;
    shutdown(server, SHUT_WR); /* Best effort: recv(2) tells more. */
    return expect(server, "[+] server : finished transferring file");
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    off_t size;
    int file = open_file(options.file, &size);
    if (file == -1)
        return 1;
    int server = open_connection(&options);
    if (server == -1) {
        close(file); /* Best effort: nothing was written. */
        return 1;
    }
    signal(SIGPIPE, SIG_IGN); /* sendfile(2) has no MSG_NOSIGNAL */
    /* Best effort: it fails for a wrong descriptor only. */
    fcntl(server, F_SETFL, O_NONBLOCK);
    int result = transfer(server, options.file, file, size);
    /* Best effort: nothing was written to it. */
    close(file);
    close(server); /* Best effort: the server has all, or said why not. */
    if (ferror(stdout)) {
        complain("standard output");
        result = -1;
    }
    return result == 0 ? 0 : 1;
}
