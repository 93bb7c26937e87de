/* A sound echo server for one message. Every call of it may wait: a second
 * thread takes the signals, and ends the waiting by shutdown(2).
 */
#define _GNU_SOURCE

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int listening = -1, connected = -1;      /* -1: not open; these under */
static bool asked_to_end;                       /* the mutex */
static sigset_t ends;

static int problem(const char *what)
{
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    return 1;
}

static bool must_end(void)
{
    pthread_mutex_lock(&mutex);
    bool asked = asked_to_end;
    pthread_mutex_unlock(&mutex);
    return asked;
}

/* Lets the other thread see the descriptor, or -1: it is not to be used. */
static void set_place(int *place, int descriptor)
{
    pthread_mutex_lock(&mutex);
    *place = descriptor;
    if (asked_to_end && descriptor != -1)
        shutdown(descriptor, SHUT_RD);          /* the signal was earlier */
    pthread_mutex_unlock(&mutex);
}

static void close_place(int *place)
{
    int descriptor = *place;                    /* it is written here only */
    set_place(place, -1);
    if (descriptor != -1)
        close(descriptor);
}

/* At a signal nobody more is let in, and nothing more is waited for; a second
 * later nothing more is sent either.
 */
static void *take_signals(void *unused)
{
    int number;
    sigwait(&ends, &number);
    pthread_mutex_lock(&mutex);
    asked_to_end = true;
    if (listening != -1)
        shutdown(listening, SHUT_RD);
    if (connected != -1)
        shutdown(connected, SHUT_RD);
    pthread_mutex_unlock(&mutex);
    sleep(1);
    pthread_mutex_lock(&mutex);
    if (connected != -1)
        shutdown(connected, SHUT_RDWR);
    pthread_mutex_unlock(&mutex);
    return unused;
}

static bool write_all(int to, const char *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t now = write(to, bytes + done, count - done);
        if (now == -1 && errno != EINTR)
            return false;
        if (now > 0)
            done += (size_t)now;
    }
    return true;
}

/* Returns the status of the program. */
static int echo_message(int client)
{
    char bytes[1500];
    for (;;) {
        ssize_t count = read(client, bytes, sizeof(bytes));
        if (count == -1 && errno == EINTR)
            continue;
        if (count == -1)
            return must_end() ? 0 : problem("read");
        if (count == 0)
            return 0;
        char *end = memchr(bytes, '\n', (size_t)count);
        if (end != NULL)
            count = end - bytes + 1;
        if (!write_all(client, bytes, (size_t)count))
            return must_end() ? 0 : problem("write");
        if (end != NULL)
            return 0;
    }
}

/* Waits for the client's end, for a second: with bytes unread, close() would
 * send a reset, which may overtake the reply.
 */
static void say_goodbye(int client)
{
    char bytes[1500];
    struct timeval second = {.tv_sec = 1};
    shutdown(client, SHUT_WR);
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
    for (int turns = 0; turns < 10000; turns++) {
        ssize_t count = read(client, bytes, sizeof(bytes));
        if (count == 0 || (count == -1 && errno != EINTR))
            break;
    }
}

static int accept_client(int listener)
{
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client != -1 || must_end())
            return client;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
            errno == ENOMEM)
            usleep(100000);
        else if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK)
            return -1;
    }
}

/* -1 after a complaint. */
static int open_listener(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = host == NULL ? AF_INET : AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE}, *found;
    int result = getaddrinfo(host, port, &hints, &found), on = 1;
    if (result != 0) {
        fprintf(stderr, "server: %s: %s\n", host, gai_strerror(result));
        return -1;
    }
    const char *call = "socket";
    int listener = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener != -1) {
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        call = "bind";
        result = bind(listener, found->ai_addr, found->ai_addrlen);
        if (result == 0) {
            call = "listen";
            result = listen(listener, 5);
        }
    }
    if (listener == -1 || result == -1) {
        problem(call);
        listener = -1;          /* what is open ends with the program */
    }
    freeaddrinfo(found);
    return listener;
}

int main(int argc, char **argv)
{
    const char *host = NULL, *port = "8080";
    char *end = "";
    long number = 8080;
    int letter;
    while ((letter = getopt(argc, argv, "H:P:")) != -1) {
        if (letter == 'H')
            host = optarg;
        else if (letter == 'P' && *optarg >= '0' && *optarg <= '9')
            number = strtol(port = optarg, &end, 10);
        else
            number = -1;
        if (*end != '\0' || number < 0 || number > 65535)
            break;
    }
    if (letter != -1 || optind != argc) {
        fputs("usage: server [-H HOST] [-P PORT]\n", stderr);
        return 2;
    }

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    pthread_t signals;
    errno = pthread_create(&signals, NULL, take_signals, NULL);
    if (errno != 0)
        return problem("thread");
    pthread_detach(signals);

    int listener = open_listener(host, port);
    if (listener == -1)
        return 1;
    set_place(&listening, listener);
    int client = accept_client(listener);
    if (client == -1)
        return must_end() ? 0 : problem("accept");
    set_place(&connected, client);
    close_place(&listening);
    int status = echo_message(client);
    if (status == 0 && !must_end())
        say_goodbye(client);
    close_place(&connected);
    return status;
}
