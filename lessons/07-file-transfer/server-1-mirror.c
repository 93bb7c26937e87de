/*
 * A server that files are sent to, call for call as the document has it: a
 * thread for each client receives a name, a size and the data, answers each,
 * and writes the data to a file of that name.
 *
 * Run: build/lessons/07-file-transfer/server-1-mirror
 *      and, in a second terminal, client-1-mirror -F FILE
 *
 * The document also keeps lists of its connections and threads. They serve a
 * function that nothing calls, so they are left out here; lesson 08 is about
 * them. One thing they do is kept: a connection that gave no data stays open.
 * A socket that each thread makes and never uses is left out as well: Python
 * closes it when the thread ends.
 *
 * Still wrong:
 * - What lessons 02 and 03 mended: one send(2), EINTR, SIGPIPE, SO_REUSEADDR,
 *   the errors of accept(2). A failed thread ends the program (2).
 * - The data end where the stream ends. Half a file looks whole, an empty one
 *   like an error, and a client that waits for the last answer waits for ever
 *   (3).
 * - The client may write any file that the server may write (4).
 * - Half a file stays after a failure, in place of the good one before it; the
 *   last answer comes before the data are out of stdio's buffer (5).
 * - A client is not told why its file was refused, and a file that exceeds a
 *   limit kills the program by SIGXFSZ (6).
 * - Each byte is copied to the program and back to the kernel (7).
 * - Any number of clients makes as many threads (8).
 * - SIGTERM kills the program in the middle of an upload (9).
 * - Names and sizes have no end: one recv(2) is taken for each (10).
 * - Data that were changed on their way are stored as they came (11).
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "50000"
#define BACKLOG 1
#define BUFFER_SIZE 1024

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
    struct addrinfo hints;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    struct addrinfo *list = NULL;
    int error = getaddrinfo(options->host, options->port, &hints, &list);
    if (error != 0) {
        fprintf(stderr, "%s: resolve %s: %s\n", program,
                options->host != NULL ? options->host : "0.0.0.0",
                error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
        return -1;
    }
    const char *call = "socket";
    int listener = socket(list->ai_family, list->ai_socktype, 0);
    int result = listener == -1 ? -1 : 0;
    if (result == 0) {
        call = "bind";
        result = bind(listener, list->ai_addr, list->ai_addrlen);
    }
    if (result == 0) {
        call = "listen";
        result = listen(listener, BACKLOG);
    }
    if (result == -1)
        complain(call);
    freeaddrinfo(list);
    if (result == 0)
        return listener;
    if (listener != -1)
        close(listener); /* Best effort: the first error has been told. */
    return -1;
}

/* Receives a name or a size as a string; -1 after a complaint. */
static int receive_text(int client, char text[BUFFER_SIZE + 1])
{
    ssize_t got = recv(client, text, BUFFER_SIZE, 0);
    if (got == -1)
        return fail(client, "recv", strerror(errno));
    text[got] = '\0';
    return 0;
}

/* -1 after a complaint. */
static int answer(int client, const char *text)
{
    if (send(client, text, strlen(text), 0) == -1)
        return fail(client, "send", strerror(errno));
    return 0;
}

/* Writes what comes until the end of the stream; -1 after a complaint. */
static int receive_data(int client, FILE *file, char *buffer, ssize_t got)
{
    while (got > 0) {
        if (fwrite(buffer, 1, (size_t)got, file) != (size_t)got)
            return fail(client, "write", strerror(errno));
        got = recv(client, buffer, BUFFER_SIZE, 0);
    }
    return got == 0 ? 0 : fail(client, "recv", strerror(errno));
}

/* Best effort: an upload does not depend on the log. */
static void print_upload(const char *name, const char *size)
{
    printf("[+] name: %s, size: %s\n", name, size);
    fflush(stdout);
}

/* -1 after a complaint. */
static int receive_file(int client, const char *name)
{
    char buffer[BUFFER_SIZE];
    ssize_t got = recv(client, buffer, sizeof(buffer), 0);
    if (got == -1)
        return fail(client, "recv", strerror(errno));
    if (got == 0) /* An empty file, which the document takes for an error. */
        return fail(client, "recv", "no data came");
    FILE *file = fopen(name, "wb");
    if (file == NULL)
        return fail(client, "open", strerror(errno));
    int result = receive_data(client, file, buffer, got);
    if (result == 0)
        result = answer(client, "[+] server : finished transferring file");
    fclose(file); /* Best effort: the client has its answer already. */
    return result;
}

/* The whole talk with one client; -1 after a complaint. */
static int upload(int client)
{
    char name[BUFFER_SIZE + 1];
    char size[BUFFER_SIZE + 1];
    if (receive_text(client, name) == -1 ||
        answer(client, "[+] server : filename query ok") == -1 ||
        receive_text(client, size) == -1 ||
        answer(client, "[+] server : filesize query ok") == -1)
        return -1;
    print_upload(name, size);
    return receive_file(client, name);
}

/* A thread's work. */
static void *run_client(void *argument)
{
    int client = (int)(intptr_t)argument;
    if (upload(client) == 0)
        close(client); /* Best effort: the last answer has been sent. */
    return NULL;
}

/* -1 after a complaint. */
static int start_thread(int client)
{
    pthread_t thread;
    int error =
        pthread_create(&thread, NULL, run_client, (void *)(intptr_t)client);
    if (error != 0) {
        close(client); /* Best effort: nothing has been received. */
        return fail(client, "pthread_create", strerror(error));
    }
    pthread_detach(thread); /* Best effort: it fails for a wrong id only. */
    return 0;
}

/* Accepts clients for ever; returns after a complaint. */
static void serve(int listener)
{
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client == -1) {
            complain("accept");
            return;
        }
        if (start_thread(client) == -1)
            return;
    }
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int listener = open_listener(&options);
    if (listener == -1)
        return 1;
    serve(listener);
    close(listener); /* Best effort: the program ends anyway. */
    return 1;
}
