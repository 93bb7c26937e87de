/*
 * A server that files are sent to: a thread for each client receives a name, a
 * size and the data, answers each, and writes the data to a file of that name.
 *
 * Run: build/lessons/07-file-transfer/server-10-header
 *      and, in a second terminal, client-1-mirror -F FILE
 *
 * Changed since step 9: a client may begin with a header in place of the name.
 * It tells the lengths of the name and of the data, so that nothing depends on
 * how the bytes are cut into pieces. A header begins with a NUL, which no name
 * does, so the document's client is served as before.
 *
 * Still wrong:
 * - Data that were changed on their way are stored as they came (11).
 */
#define _GNU_SOURCE /* splice(2), pipe2(2): not in POSIX */

#include "ss_io.h"
#include "ss_listen.h"
#include "ss_stop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "50000"
#define BACKLOG SOMAXCONN
#define BUFFER_SIZE 1024
#define SEATS 128
#define HEADER_SIZE 43 /* version, length of the name, size, digest */
#define VERSION 1
#define PIECE_SIZE 65536 /* what a pipe holds: pipe(7) */
#define PAUSE_MS 100
#define FINISH_MS 1000 /* from a stop to the end */
#define DRAIN_MS 1000
#define PART_PREFIX ".upload-" /* no client may choose such a name */
#define PART_SIZE 48
#define MAX_SIZE (64LL << 30) /* bytes of one file */

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
};

/* The place of one client. Only the main thread makes a seat busy. */
struct seat {
    atomic_int state;
    pthread_t thread; /* of a seat that is not free */
    int client;
};

enum { FREE, BUSY, LEFT };

struct request {
    char path[BUFFER_SIZE + 1];
    long long size;
    bool has_header;
};

static const char *program = "server";
static struct seat seats[SEATS];
static int free_seats; /* an eventfd(2) that counts them */
static struct ss_stop stop;
static pthread_once_t stopping = PTHREAD_ONCE_INIT;
static struct ss_deadline last_second; /* set by the first to see a stop */

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

/* Tells why an upload failed; always -1. Clients go by their descriptors. */
static int fail(int client, const char *what, const char *why)
{
    fprintf(stderr, "%s: client %d, %s: %s\n", program, client, what, why);
    char text[BUFFER_SIZE];
    snprintf(text, sizeof(text), "[-] server : %s: %s", what, why);
    size_t done; /* Best effort: the client may be gone. */
    ss_send_all(client, text, strlen(text), NULL, &done);
    return -1;
}

static bool is_port(const char *text)
{
    /* strtol(3) allows blanks and a sign before the digits; a port does not. */
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    long port = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && port <= 65535;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = NULL, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg; /* "0": the kernel chooses one */
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT]\n", program);
        exit(2);
    }
    return options;
}

/* A listening socket; -1 after a complaint. */
static int open_listener(const struct options *options)
{
    const char *host = options->host != NULL ? options->host : "0.0.0.0";
    int listener;
    size_t count;
    int resolver;
    if (ss_listen(host, options->port, SOCK_STREAM, BACKLOG, &listener, 1,
                  &count, &resolver) == 0)
        /* A client that leaves before accept(2) must not block it. */
        return fcntl(listener, F_SETFL, O_NONBLOCK) == 0 ? listener : -1;
    fprintf(stderr, "%s: listen %s port %s: %s\n", program, host, options->port,
            resolver == 0 || resolver == EAI_SYSTEM ? strerror(errno)
                                                    : gai_strerror(resolver));
    return -1;
}

static void start_last_second(void)
{
    ss_deadline_set(&last_second, FINISH_MS);
}

/* Waits for bytes of the client, or its end; -1 with errno. After a stop, an
 * idle client must have sent them already, and another has the last second.
 */
static int wait_for(int client, bool idle)
{
    if (ss_stop_wait(&stop, client, POLLIN, NULL) == 0)
        return 0;
    if (errno != ECANCELED)
        return -1;
    pthread_once(&stopping, start_last_second); /* It cannot fail. */
    struct ss_deadline now;
    ss_deadline_set(&now, 0);
    if (ss_wait(client, POLLIN, idle ? &now : &last_second) == 0)
        return 0;
    errno = ECANCELED;
    return -1;
}

/* Receives a name or a size as a string; -1 after a complaint. */
static int receive_text(int client, char text[BUFFER_SIZE + 1])
{
    size_t got;
    if (wait_for(client, false) == -1 ||
        ss_recv_some(client, text, BUFFER_SIZE, NULL, &got) == -1)
        return fail(client, "recv", strerror(errno));
    text[got] = '\0';
    /* A message that fills the buffer may have been cut. */
    if (got == BUFFER_SIZE || strlen(text) != got)
        return fail(client, "message", "too long, or with a NUL inside");
    return 0;
}

/* Receives exactly so many bytes; -1 after a complaint. */
static int receive_exactly(int client, void *buffer, size_t length)
{
    unsigned char *bytes = buffer;
    while (length > 0) {
        size_t got;
        if (wait_for(client, false) == -1 ||
            ss_recv_some(client, bytes, length, NULL, &got) == -1)
            return fail(client, "recv", strerror(errno));
        if (got == 0)
            return fail(client, "recv", "fewer bytes than announced");
        bytes += got;
        length -= got;
    }
    return 0;
}

/* A number whose first byte counts most. */
static unsigned long long number(const unsigned char *bytes, size_t length)
{
    unsigned long long value = 0;
    for (size_t i = 0; i < length; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* What is behind the last slash, or NULL if no file may have that name. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strncmp(name, PART_PREFIX, strlen(PART_PREFIX)) == 0 ||
        strlen(name) > NAME_MAX)
        return NULL;
    for (const char *c = name; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) /* It may do harm. */
            return NULL;
    return name;
}

/* A decimal number of bytes, or -1. */
static long long parse_size(const char *text)
{
    if (text[0] < '0' || text[0] > '9')
        return -1;
    char *end;
    errno = 0;
    long long size = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' ? size : -1;
}

/* -1 after a complaint. */
static int answer(int client, const char *text)
{
    size_t done;
    if (ss_send_all(client, text, strlen(text), NULL, &done) == -1)
        return fail(client, "send", strerror(errno));
    return 0;
}

/* Opens a new file for data that are not whole yet; -1 with errno. */
static int open_part(char part[PART_SIZE])
{
    static atomic_uint count;
    int file;
    do { /* EEXIST: a process that was killed had the same number as this. */
        snprintf(part, PART_SIZE, PART_PREFIX "%ld-%u", (long)getpid(),
                 atomic_fetch_add(&count, 1U));
        file = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (file == -1 && errno == EEXIST);
    return file;
}

/* Brings the names of the files to the disk; -1 with errno. */
static int sync_folder(void)
{
    int folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder == -1)
        return -1;
    int result = fsync(folder);
    int error = errno;
    close(folder); /* Best effort: nothing was written by it. */
    errno = error;
    return result;
}

/* Makes room for a file before it comes; -1 after a complaint. */
static int reserve(int client, int file, long long size)
{
    if (size > MAX_SIZE)
        return fail(client, "size", "over the limit of this server");
    int error = size > 0 ? posix_fallocate(file, 0, size) : 0;
    return error == 0 ? 0 : fail(client, "size", strerror(error));
}

/* Moves what is in a pipe to a file; -1 after a complaint. */
static int empty_pipe(int client, int pipe, int file, size_t length)
{
    while (length > 0) {
        ssize_t put = splice(pipe, NULL, file, NULL, length, SPLICE_F_MOVE);
        if (put == -1 && errno == EINTR)
            continue;
        if (put == -1)
            return fail(client, "write", strerror(errno));
        length -= (size_t)put;
    }
    return 0;
}

/* Moves so many bytes, and takes no more; -1 after a complaint. */
static int move_data(int client, const int ends[2], int file, long long size)
{
    while (size > 0) {
        size_t want = size < PIECE_SIZE ? (size_t)size : PIECE_SIZE;
        ssize_t got = wait_for(client, false);
        if (got == 0)
            got = splice(client, NULL, ends[1], NULL, want, SPLICE_F_MOVE);
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1)
            return fail(client, "recv", strerror(errno));
        if (got == 0)
            return fail(client, "recv", "fewer bytes than announced");
        if (empty_pipe(client, ends[0], file, (size_t)got) == -1)
            return -1;
        size -= got;
    }
    return 0;
}

/* -1 after a complaint. */
static int receive_data(int client, int file, long long size)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == -1)
        return fail(client, "pipe", strerror(errno));
    int result = move_data(client, ends, file, size);
    close(ends[0]); /* Best effort: what is left in the pipe is of no use. */
    close(ends[1]);
    return result;
}

/* Best effort: an upload does not depend on the log. */
static void print_upload(const char *name, long long size)
{
    printf("[+] name: %s, size: %lld\n", name, size);
    fflush(stdout);
}

/* -1 after a complaint. */
static int receive_file(int client, const struct request *request,
                        const char *name)
{
    long long size = request->size;
    char part[PART_SIZE];
    int file = open_part(part);
    if (file == -1)
        return fail(client, "open", strerror(errno));
    int result = reserve(client, file, size);
    if (result == 0)
        result = answer(client, request->has_header
                                    ? "[+] server : header query ok"
                                    : "[+] server : filesize query ok");
    if (result == 0)
        result = receive_data(client, file, size);
    if (result == 0 && fsync(file) == -1)
        result = fail(client, "fsync", strerror(errno));
    if (close(file) == -1 && result == 0) /* Some file systems tell it here. */
        result = fail(client, "close", strerror(errno));
    if (result == 0 && rename(part, name) == -1)
        result = fail(client, "rename", strerror(errno));
    if (result == -1) {
        unlink(part); /* Best effort: no client can take it for a file. */
        return -1;
    }
    if (sync_folder() == -1)
        return fail(client, "fsync of the folder", strerror(errno));
    print_upload(name, size);
    return answer(client, "[+] server : finished transferring file");
}

/* A file in the document's form: name and size; -1 after a complaint. */
static int upload_named(int client, struct request *request)
{
    char text[BUFFER_SIZE + 1];
    if (receive_text(client, request->path) == -1)
        return -1;
    const char *name = base_name(request->path);
    if (name == NULL)
        return fail(client, "name", "not a name for a file here");
    if (answer(client, "[+] server : filename query ok") == -1 ||
        receive_text(client, text) == -1)
        return -1;
    request->size = parse_size(text);
    if (request->size == -1)
        return fail(client, "size", "not a number of bytes");
    return receive_file(client, request, name);
}

/* A file with a header; -1 after a complaint. */
static int upload_with_header(int client, struct request *request)
{
    unsigned char header[1 + HEADER_SIZE]; /* the NUL comes first */
    if (receive_exactly(client, header, sizeof(header)) == -1)
        return -1;
    if (header[1] != VERSION)
        return fail(client, "header", "of a version that is not known here");
    size_t length = (size_t)number(header + 2, 2);
    unsigned long long size = number(header + 4, 8);
    if (length > BUFFER_SIZE)
        return fail(client, "name", "too long");
    if (receive_exactly(client, request->path, length) == -1)
        return -1;
    request->path[length] = '\0';
    const char *name = base_name(request->path);
    if (name == NULL || strlen(request->path) != length)
        return fail(client, "name", "not a name for a file here");
    request->size = size > MAX_SIZE ? LLONG_MAX : (long long)size;
    request->has_header = true;
    return receive_file(client, request, name);
}

/* The whole talk with one client; -1 after a complaint. */
static int upload(int client)
{
    struct request request;
    memset(&request, 0, sizeof(request));
    char first = 'a'; /* of a name, if the stream ends here */
    if (wait_for(client, true) == -1 ||
        recv(client, &first, 1, MSG_PEEK | MSG_DONTWAIT) == -1)
        return fail(client, "recv", strerror(errno));
    return first == '\0' ? upload_with_header(client, &request)
                         : upload_named(client, &request);
}

/* Ends the stream, and takes what the client has still sent. */
static void drain(int client)
{
    shutdown(client, SHUT_WR); /* Best effort: the client may be gone. */
    struct ss_deadline deadline;
    ss_deadline_set(&deadline, DRAIN_MS);
    char buffer[BUFFER_SIZE];
    size_t got = 1;
    while (got > 0 && ss_deadline_left_ms(&deadline) > 0)
        if (ss_stop_wait(&stop, client, POLLIN, &deadline) == -1 ||
            ss_recv_some(client, buffer, sizeof(buffer), &deadline, &got) == -1)
            return;
}

/* Waits until one is free; NULL after a stop. */
static struct seat *take_seat(void)
{
    eventfd_t one;
    if (ss_stop_wait(&stop, free_seats, POLLIN, NULL) == -1)
        return NULL;
    eventfd_read(free_seats, &one); /* Best effort: it is there. */
    struct seat *seat = seats;
    while (seat->state == BUSY)
        seat++;
    if (seat->state == LEFT)
        pthread_join(seat->thread, NULL); /* It has no more to do. */
    seat->state = FREE;
    return seat;
}

static void leave_seat(struct seat *seat, int state)
{
    seat->state = state;
    eventfd_write(free_seats, 1); /* Best effort: it cannot overflow. */
}

/* A thread's work. */
static void *run_client(void *argument)
{
    struct seat *seat = argument;
    upload(seat->client);
    drain(seat->client);
    close(seat->client); /* Best effort: every byte has been sent or lost. */
    leave_seat(seat, LEFT);
    return NULL;
}

static void start_thread(struct seat *seat, int client)
{
    seat->client = client;
    seat->state = BUSY;
    int error = pthread_create(&seat->thread, NULL, run_client, seat);
    if (error != 0) {
        fail(client, "pthread_create", strerror(error));
        close(client); /* Best effort: nothing has been received. */
        leave_seat(seat, FREE);
    }
}

/* Whether accept(2) may be called again; after a lack of something it pauses.
 */
static bool may_accept_again(void)
{
    switch (errno) {
    case EBADF: /* These four are faults of the program. */
    case EFAULT:
    case EINVAL:
    case ENOTSOCK:
        return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        poll(NULL, 0, PAUSE_MS); /* Best effort: a shorter pause will do. */
        return true;
    default: /* What happened to one client, and EINTR. */
        return true;
    }
}

/* Accepts clients until a stop; -1 after a complaint. */
static int serve(int listener)
{
    struct seat *seat;
    while ((seat = take_seat()) != NULL) {
        int client;
        do {
            if (ss_stop_wait(&stop, listener, POLLIN, NULL) == -1)
                return 0;
            client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        } while (client == -1 && may_accept_again());
        if (client == -1) {
            complain("accept");
            return -1;
        }
        start_thread(seat, client);
    }
    return 0;
}

/* Waits for the end of every thread. */
static void join_all(void)
{
    for (struct seat *seat = seats; seat < seats + SEATS; seat++)
        if (seat->state != FREE)
            pthread_join(seat->thread, NULL); /* It has no error here. */
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    if (ss_stop_open(&stop) == -1) {
        complain("signalfd");
        return 1;
    }
    int listener = open_listener(&options);
    if (listener == -1)
        return 1;
    signal(SIGPIPE, SIG_IGN); /* for standard output and standard error */
    signal(SIGXFSZ, SIG_IGN); /* write(2) tells it by EFBIG as well */
    free_seats = eventfd(SEATS, EFD_SEMAPHORE | EFD_CLOEXEC);
    if (free_seats == -1) {
        complain("eventfd");
        return 1;
    }
    int result = serve(listener);
    close(listener); /* Best effort: nothing is left to lose. */
    join_all();
    close(free_seats); /* Best effort: as above. */
    ss_stop_close(&stop);
    return result == 0 ? 0 : 1;
}
