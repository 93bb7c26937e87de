/*
 * A server that files are sent to: a thread for each client receives a name, a
 * size and the data, answers each, and writes the data to a file of that name.
 *
 * Run: build/lessons/07-file-transfer/server-5-atomic
 *      and, in a second terminal, client-1-mirror -F FILE
 *
 * Changed since step 4: the data go to a file with a name of its own, which
 * gets the client's name by rename(2) when it is whole and on the disk. Until
 * then the old file is untouched, a failure leaves nothing, and two uploads of
 * one name cannot meet. The last answer comes after all that.
 *
 * Still wrong:
 * - A client is not told why its file was refused, and a file that exceeds a
 *   limit kills the program by SIGXFSZ (6).
 * - Each byte is copied to the program and back to the kernel (7).
 * - Any number of clients makes as many threads (8).
 * - SIGTERM kills the program in the middle of an upload (9).
 * - Names and sizes have no end: one recv(2) is taken for each (10).
 * - Data that were changed on their way are stored as they came (11).
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_io.h"
#include "ss_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "50000"
#define BACKLOG SOMAXCONN
#define BUFFER_SIZE 1024
#define PAUSE_MS 100
#define PART_PREFIX ".upload-" /* no client may choose such a name */
#define PART_SIZE 48

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
};

static const char *program = "server";

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

/* Tells why an upload failed; always -1. Clients go by their descriptors. */
static int fail(int client, const char *what, const char *why)
{
    fprintf(stderr, "%s: client %d, %s: %s\n", program, client, what, why);
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
        return listener;
    fprintf(stderr, "%s: listen %s port %s: %s\n", program, host, options->port,
            resolver == 0 || resolver == EAI_SYSTEM ? strerror(errno)
                                                    : gai_strerror(resolver));
    return -1;
}

/* Receives a name or a size as a string; -1 after a complaint. */
static int receive_text(int client, char text[BUFFER_SIZE + 1])
{
    size_t got;
    if (ss_recv_some(client, text, BUFFER_SIZE, NULL, &got) == -1)
        return fail(client, "recv", strerror(errno));
    text[got] = '\0';
    /* A message that fills the buffer may have been cut. */
    if (got == BUFFER_SIZE || strlen(text) != got)
        return fail(client, "message", "too long, or with a NUL inside");
    return 0;
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

/* Writes so many bytes, and takes no more; -1 after a complaint. */
static int receive_data(int client, int file, long long size)
{
    char buffer[BUFFER_SIZE];
    while (size > 0) {
        size_t want = size < BUFFER_SIZE ? (size_t)size : BUFFER_SIZE;
        size_t got;
        if (ss_recv_some(client, buffer, want, NULL, &got) == -1)
            return fail(client, "recv", strerror(errno));
        if (got == 0)
            return fail(client, "recv", "fewer bytes than announced");
        size_t done;
        if (ss_write_all(file, buffer, got, NULL, &done) == -1)
            return fail(client, "write", strerror(errno));
        size -= (long long)got;
    }
    return 0;
}

/* Best effort: an upload does not depend on the log. */
static void print_upload(const char *name, long long size)
{
    printf("[+] name: %s, size: %lld\n", name, size);
    fflush(stdout);
}

/* -1 after a complaint. */
static int receive_file(int client, const char *name, long long size)
{
    char part[PART_SIZE];
    int file = open_part(part);
    if (file == -1)
        return fail(client, "open", strerror(errno));
    int result = answer(client, "[+] server : filesize query ok");
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

/* The whole talk with one client; -1 after a complaint. */
static int upload(int client)
{
    char path[BUFFER_SIZE + 1];
    char text[BUFFER_SIZE + 1];
    if (receive_text(client, path) == -1)
        return -1;
    const char *name = base_name(path);
    if (name == NULL)
        return fail(client, "name", "not a name for a file here");
    if (answer(client, "[+] server : filename query ok") == -1 ||
        receive_text(client, text) == -1)
        return -1;
    long long size = parse_size(text);
    if (size == -1)
        return fail(client, "size", "not a number of bytes");
    return receive_file(client, name, size);
}

/* A thread's work. */
static void *run_client(void *argument)
{
    int client = (int)(intptr_t)argument;
    upload(client);
    close(client); /* Best effort: every byte has been sent or lost. */
    return NULL;
}

static void start_thread(int client)
{
    pthread_t thread;
    int error =
        pthread_create(&thread, NULL, run_client, (void *)(intptr_t)client);
    if (error != 0) {
        fail(client, "pthread_create", strerror(error));
        close(client); /* Best effort: nothing has been received. */
        return;
    }
    pthread_detach(thread); /* Best effort: it fails for a wrong id only. */
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

/* Accepts clients for ever; returns after a complaint. */
static void serve(int listener)
{
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client != -1) {
            start_thread(client);
        } else if (!may_accept_again()) {
            complain("accept");
            return;
        }
    }
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int listener = open_listener(&options);
    if (listener == -1)
        return 1;
    signal(SIGPIPE, SIG_IGN); /* for standard output and standard error */
    serve(listener);
    close(listener); /* Best effort: the program ends anyway. */
    return 1;
}
