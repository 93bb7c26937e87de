/*
 * A client that sends a file: the name, then the size, each with an answer that
 * is printed, then the data.
 *
 * Run: build/lessons/07-file-transfer/client-3-answers -F FILE
 *      while a server listens on port 50000
 *
 * Changed since step 2: each answer must be the one that is due; any other is
 * a refusal, which is told, with status 1. After the data shutdown(2) ends the
 * stream in this direction alone, because the document's server takes that for
 * the end of the data, and the last answer is read.
 *
 * Still wrong:
 * - The file is kept in memory whole, and read twice (4).
 * - A directory is sent like a file, a FIFO is waited for, and a file that has
 *   become longer or shorter meanwhile is sent as it is then. The server is
 *   told the whole path (5).
 * - What the server says while data are being sent is not seen (6).
 * - Whoever waits does not see how far it is (7).
 * - Nothing tells the server whether it got the bytes that were sent (8).
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_connect.h"
#include "ss_io.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "50000"
#define BUFFER_SIZE 1024
#define REST_MS 300 /* for the rest of a refusal */

struct options {
    const char *host;
    const char *port;
    const char *file;
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

/* The whole file, for free(3), and its size; NULL after a complaint. */
static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    struct stat facts;
    if (file == NULL || fstat(fileno(file), &facts) == -1) {
        complain(path);
        if (file != NULL)
            fclose(file); /* Best effort: nothing was written. */
        return NULL;
    }
    char *data = malloc((size_t)facts.st_size + 1); /* never 0 bytes */
    *size = data == NULL ? 0 : fread(data, 1, (size_t)facts.st_size, file);
    if (data == NULL || ferror(file)) {
        complain(path);
        free(data);
        data = NULL;
    }
    fclose(file); /* Best effort: nothing was written. */
    return data;
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

/* -1 after a complaint. */
static int send_data(int server, const char *path)
{
    size_t size;
    char *data = read_file(path, &size);
    if (data == NULL)
        return -1;
    size_t done;
    int result = ss_send_all(server, data, size, NULL, &done);
    if (result == -1)
        complain("send");
    free(data);
    return result;
}

/* The whole talk with the server; -1 after a complaint. */
static int transfer(int server, const char *path)
{
    size_t size;
    char *data = read_file(path, &size);
    if (data == NULL)
        return -1;
    free(data); /* The document asks for the size here; the data come later. */
    char text[24];
    snprintf(text, sizeof(text), "%zu", size);
    if (ask(server, path, "[+] server : filename query ok") == -1 ||
        ask(server, text, "[+] server : filesize query ok") == -1 ||
        send_data(server, path) == -1)
        return -1;
    shutdown(server, SHUT_WR); /* Best effort: recv(2) tells more. */
    return expect(server, "[+] server : finished transferring file");
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int server = open_connection(&options);
    if (server == -1)
        return 1;
    signal(SIGPIPE, SIG_IGN); /* for standard output; it cannot fail */
    int result = transfer(server, options.file);
    close(server); /* Best effort: the server has all, or said why not. */
    if (ferror(stdout)) {
        complain("standard output");
        result = -1;
    }
    return result == 0 ? 0 : 1;
}
