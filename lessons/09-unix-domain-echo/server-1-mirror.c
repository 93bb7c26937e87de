/*
 * An echo server for the processes of one machine: the document's server, call
 * for call, with the family AF_UNIX in place of AF_INET and a path in place of
 * a host and a port. Clients are served one after the other, for ever.
 *
 * Run: build/lessons/09-unix-domain-echo/server-1-mirror -U echo.sock
 *      and, in a second terminal, nc -NU echo.sock
 *
 * Still wrong:
 * - What lessons 02 and 03 have mended: one send(2) for all, errors of one
 *   client, SIGPIPE, EINTR and every error of accept(2) end it (2).
 * - SIGTERM kills the program in the middle of a reply (3).
 * - A path that is too long is cut, and names another file (4).
 * - `@name` is taken for a path, not for an abstract name (5).
 * - The socket file outlives the program, and bind(2) then fails (6, 7, 8).
 * - The umask decides who may connect (9).
 * - Nobody learns who the client is (10).
 * - It knows AF_UNIX only (12).
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_PATH "echo.sock"
#define BACKLOG 10
#define BUFFER_SIZE 1024

struct options {
    const char *path; /* of the socket file, or "@" and an abstract name */
};

static const char *program = "server";

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

static bool is_path(const char *text)
{
    /* For both of these the kernel would choose a name of its own. */
    return strcmp(text, "") != 0 && strcmp(text, "@") != 0;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.path = DEFAULT_PATH};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "U:")) != -1) {
        if (option == 'U' && is_path(optarg))
            options.path = optarg;
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-U PATH]\n", program);
        exit(2);
    }
    return options;
}

/* Makes an address of the path; its length. */
static socklen_t set_address(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    strncpy(address->sun_path, path, sizeof(address->sun_path) - 1);
    return sizeof(*address);
}

/* A listening socket, or -1 with errno; *call is the call that failed. */
static int listen_at(const char *path, const char **call)
{
    struct sockaddr_un address;
    socklen_t length = set_address(&address, path);
    *call = "socket";
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener == -1)
        return -1;
    *call = "bind";
    int result = bind(listener, (struct sockaddr *)&address, length);
    if (result == 0) {
        *call = "listen";
        result = listen(listener, BACKLOG);
    }
    if (result == 0)
        return listener;
    int error = errno;
    close(listener); /* Best effort: the first error is the one to tell. */
    errno = error;
    return -1;
}

/* A listening socket, or -1 after a complaint. */
static int open_listener(const struct options *options)
{
    const char *call = "";
    int listener = listen_at(options->path, &call);
    if (listener == -1)
        fprintf(stderr, "%s: %s %s: %s\n", program, call, options->path,
                strerror(errno));
    return listener;
}

/* Best effort: an echo does not depend on its log. */
static void print_peer(const struct sockaddr_un *peer, socklen_t length)
{
    /* A client that did not call bind(2) has a family and no name. */
    bool has_name = length > offsetof(struct sockaddr_un, sun_path);
    printf("connected from '%s'\n", has_name ? peer->sun_path : "");
    fflush(stdout);
}

/* Sends back what comes until the end of the stream; -1 after a complaint. */
static int echo(int connection)
{
    char buffer[BUFFER_SIZE];
    for (;;) {
        ssize_t got = recv(connection, buffer, sizeof(buffer), 0);
        if (got == -1) {
            complain("recv");
            return -1;
        }
        if (got == 0)
            return 0; /* The client has sent its last byte. */
        if (send(connection, buffer, (size_t)got, 0) == -1) {
            complain("send");
            return -1;
        }
    }
}

/* Serves one client after the other; -1 after a complaint. */
static int serve(int listener)
{
    for (;;) {
        struct sockaddr_un peer;
        socklen_t length = sizeof(peer);
        int connection = accept(listener, (struct sockaddr *)&peer, &length);
        if (connection == -1) {
            complain("accept");
            return -1;
        }
        print_peer(&peer, length);
        int result = echo(connection);
        close(connection); /* Best effort: every byte has been sent or lost. */
        if (result == -1)
            return -1;
    }
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int listener = open_listener(&options);
    if (listener == -1)
        return 1;
    int result = serve(listener);
    close(listener); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
