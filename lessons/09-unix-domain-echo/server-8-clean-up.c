/*
 * An echo server for the processes of one machine, over AF_UNIX: clients are
 * served one after the other, for ever, and everything that a client sends
 * goes back to it.
 *
 * Run: build/lessons/09-unix-domain-echo/server-8-clean-up -U echo.sock
 *      and, in a second terminal, nc -NU echo.sock
 *
 * Changed since step 7: the socket file is removed at the end, and after a
 * listen(2) that failed. The file may be another's by then: its device and its
 * inode number, noted after bind(2), tell. It is removed before the socket is
 * closed: an open socket keeps its inode, so that no other file can have the
 * number.
 *
 * Still wrong:
 * - The umask decides who may connect (9).
 * - Nobody learns who the client is, and a log that nobody reads stops the
 *   server (10).
 * - It knows AF_UNIX only (12).
 * - Between the look at the file and unlink(2) another may come. Never mended:
 *   no server takes the path from one that listens.
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_io.h"
#include "ss_stop.h"
#include "ss_time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_PATH "echo.sock"
#define BACKLOG 10
#define BUFFER_SIZE 1024
#define PAUSE_MS 100
#define FINISH_MS 1000 /* from a stop to the end */

struct options {
    const char *path; /* of the socket file, or "@" and an abstract name */
};

static const char *program = "server";
static struct ss_stop stop;
static bool ending;            /* A stop has been seen. */
static struct ss_deadline end; /* of the last second, which a stop starts */
static int listening = -1;     /* the socket that a stop closes at once */
static const char *own_path;   /* of the socket file; NULL: there is none */
static struct stat own_file;

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

/* Removes the socket file, if it still is the one that this program made. */
static void remove_own_file(void)
{
    struct stat file;
    if (own_path != NULL && lstat(own_path, &file) == 0 &&
        file.st_dev == own_file.st_dev && file.st_ino == own_file.st_ino)
        unlink(own_path); /* Best effort: the next start removes it, too. */
    own_path = NULL;
}

/* The last second begins, and no client can come any more. */
static void begin_end(void)
{
    ending = true;
    ss_deadline_set(&end, FINISH_MS);
    remove_own_file(); /* While the socket is open its number is not reused. */
    close(listening);  /* Best effort: nothing is left to lose. */
    listening = -1;
}

/* Waits until a connection can be written to; -1 with errno. */
static int wait_to_send(int connection)
{
    if (!ending && ss_stop_wait(&stop, connection, POLLOUT, NULL) == 0)
        return 0;
    if (!ending && errno != ECANCELED)
        return -1;
    if (!ending)
        begin_end();
    return ss_wait(connection, POLLOUT, &end);
}

/* Waits for bytes; false if there are none and the end is asked for. */
static bool wait_for_more(int connection)
{
    if (!ending && ss_stop_wait(&stop, connection, POLLIN, NULL) == 0)
        return true;
    if (!ending)
        begin_end();
    struct ss_deadline now;
    ss_deadline_set(&now, 0);
    return ss_deadline_left_ms(&end) > 0 &&
           ss_wait(connection, POLLIN, &now) == 0;
}

/* Makes an address of the path; its length, or 0 if the path is too long. */
static socklen_t set_address(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    size_t path_length = strlen(path);
    bool abstract = path[0] == '@';
    if (path_length > sizeof(address->sun_path) - (abstract ? 0 : 1))
        return 0; /* No NUL ends an abstract name. */
    memcpy(address->sun_path, path, path_length);
    if (!abstract)
        return sizeof(*address);
    /* In an abstract name the NUL comes first, where the "@" was, and every
     * byte counts up to the length.
     */
    address->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_length);
}

/* Waits until no other server looks for a place in the folder of the path. A
 * descriptor that holds the lock, or -1 after a complaint.
 */
static int lock_folder(const char *path)
{
    char *folder = strdup(path);
    if (folder == NULL) {
        complain("memory");
        return -1;
    }
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[1] = '\0';
    int lock = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY);
    if (lock == -1 || flock(lock, LOCK_EX) == -1) {
        fprintf(stderr, "%s: lock the folder of %s: %s\n", program, path,
                strerror(errno));
        if (lock != -1)
            close(lock); /* Best effort: the program ends. */
        lock = -1;
    }
    free(folder);
    return lock;
}

/* Whether the path is that of a socket at which nobody listens any more. */
static bool is_stale(const struct sockaddr_un *address, socklen_t length)
{
    struct stat file;
    /* lstat(2) looks at a symbolic link itself, not at where it leads. */
    if (lstat(address->sun_path, &file) == -1 || !S_ISSOCK(file.st_mode))
        return false;
    /* If the queue of a living server is full this must not wait: EAGAIN. */
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (probe == -1)
        return false;
    bool refused =
        connect(probe, (const struct sockaddr *)address, length) == -1 &&
        errno == ECONNREFUSED;
    close(probe); /* Best effort: it was for one question only. */
    return refused;
}

/* As bind(2), but takes the path of a server that is no more. */
static int bind_path(int listener, const struct sockaddr_un *address,
                     socklen_t length)
{
    if (bind(listener, (const struct sockaddr *)address, length) == 0)
        return 0;
    if (errno != EADDRINUSE || address->sun_path[0] == '\0')
        return -1; /* An abstract name leaves nothing behind. */
    if (!is_stale(address, length)) {
        errno = EADDRINUSE;
        return -1;
    }
    if (unlink(address->sun_path) == -1)
        return -1;
    return bind(listener, (const struct sockaddr *)address, length);
}

/* A listening socket, or -1 with errno; *call is the call that failed. */
static int listen_at(const char *path, const char **call)
{
    struct sockaddr_un address;
    socklen_t length = set_address(&address, path);
    *call = "path";
    if (length == 0) {
        errno = ENAMETOOLONG;
        return -1;
    }
    *call = "socket";
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listener == -1)
        return -1;
    *call = "bind";
    int result = bind_path(listener, &address, length);
    if (result == 0 && path[0] != '@' && lstat(path, &own_file) == 0)
        own_path = path;
    if (result == 0) {
        *call = "listen";
        result = listen(listener, BACKLOG);
    }
    if (result == 0)
        return listener;
    int error = errno;
    remove_own_file();
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

/* Sends every byte; -1 with errno. */
static int send_all(int connection, const char *data, size_t length)
{
    struct ss_deadline now; /* The library is not to wait: a stop may come. */
    ss_deadline_set(&now, 0);
    size_t sent;
    while (ss_send_all(connection, data, length, &now, &sent) == -1) {
        if (errno != ETIMEDOUT || wait_to_send(connection) == -1)
            return -1;
        data += sent;
        length -= sent;
    }
    return 0;
}

/* Sends back what comes until the end of the stream, or until an error. */
static void echo(int connection)
{
    char buffer[BUFFER_SIZE];
    while (wait_for_more(connection)) {
        size_t got;
        if (ss_recv_some(connection, buffer, sizeof(buffer), NULL, &got) ==
            -1) {
            complain("recv");
            return;
        }
        if (got == 0)
            return; /* The client has sent its last byte. */
        if (send_all(connection, buffer, got) == -1) {
            complain("send");
            return;
        }
    }
}

/* 0 where accept(2) may be called again; -1 after a complaint. */
static int after_failed_accept(bool *told)
{
    struct ss_deadline pause;
    switch (errno) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED: /* The client left before it was accepted. */
        return 0;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (!*told)
            complain("accept"); /* once, not for every pause */
        *told = true;
        ss_deadline_set(&pause, PAUSE_MS);
        ss_stop_wait(&stop, -1, 0, &pause); /* Best effort: a pause. */
        return 0;
    default:
        complain("accept");
        return -1;
    }
}

/* Serves one client after the other until a stop; -1 after a complaint. */
static int serve(int listener)
{
    bool told = false;
    while (!ending && ss_stop_wait(&stop, listener, POLLIN, NULL) == 0) {
        struct sockaddr_un peer;
        socklen_t length = sizeof(peer);
        int connection = accept(listener, (struct sockaddr *)&peer, &length);
        if (connection == -1) {
            if (after_failed_accept(&told) == -1)
                return -1;
            continue;
        }
        told = false;
        print_peer(&peer, length);
        echo(connection);
        close(connection); /* Best effort: every byte has been sent or lost. */
    }
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int lock = -1;
    /* Before the signals are caught, so that they can end this wait. */
    if (options.path[0] != '@' && (lock = lock_folder(options.path)) == -1)
        return 1;
    if (ss_stop_open(&stop) == -1) {
        complain("signals");
        return 1;
    }
    int result = -1;
    listening = open_listener(&options);
    if (lock != -1)
        close(lock); /* Best effort: nothing was written. */
    if (listening != -1)
        result = serve(listening);
    if (listening != -1) {
        remove_own_file();
        close(listening); /* Best effort: the program ends anyway. */
    }
    ss_stop_close(&stop);
    return result == 0 ? 0 : 1;
}
