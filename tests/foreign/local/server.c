// A sound echo server at a path, and at a port beside it: epoll(7) hands each
// event to the object that it belongs to, signals come by signalfd(2).

#define _GNU_SOURCE
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <libgen.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// Whatever has a descriptor and waits for events.
typedef struct Watched {
    void (*onEvent)(struct Watched *self);
    int fd;
} Watched;

typedef struct Client {
    Watched watched;                    // first: a Watched is cast to this
    struct Client *previous, *next;
    size_t begin, end;                  // of what is not sent back yet
    int done;
    char buffer[8192];
} Client;

enum { FinishMs = 1000, PauseMs = 100, MostClients = 800 };

static int epollFd;
static Watched listeners[2] = {{.fd = -1}, {.fd = -1}};
static Watched stopper;
static Client *clients;                 // those who are there
static int clientCount;
static Client *buried;                  // those to be freed after this round
static const char *ownPath;             // NULL: there is no socket file
static struct stat ownFile;
static int paused;                      // accept(2) is not to be called
static int stopping;
static long long finishAt;

static long long nowMs(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void watch(Watched *watched, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watched};
    if (epoll_ctl(epollFd, operation, watched->fd, &event) == -1)
        error(1, errno, "epoll_ctl");
}

// ---- clients

static void bury(Client *client)
{
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        clients = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    close(client->watched.fd);          // it leaves the epoll set by that
    client->done = 1;
    client->next = buried;
    buried = client;
    clientCount--;
}

static void freeBuried(void)
{
    while (buried != NULL) {
        Client *next = buried->next;
        free(buried);
        buried = next;
    }
}

// Sends back and receives until one of both would wait; before a stop a few
// times at most, so that others have their turn.
static void onClient(Watched *watched)
{
    Client *client = (Client *)watched;
    if (client->done)
        return;
    int wasSending = client->begin < client->end;
    for (int turn = 0; turn < 16 || (stopping && nowMs() < finishAt); turn++) {
        if (client->begin < client->end) {
            ssize_t sent = write(watched->fd, client->buffer + client->begin,
                                 client->end - client->begin);
            if (sent == -1 && errno == EINTR)
                continue;
            if (sent == -1 && errno == EAGAIN)
                break;
            if (sent == -1) {
                bury(client);
                return;
            }
            client->begin += (size_t)sent;
        } else {
            ssize_t got = read(watched->fd, client->buffer,
                               sizeof(client->buffer));
            if (got == -1 && errno == EINTR)
                continue;
            if (got == -1 && errno == EAGAIN && !stopping)
                break;
            if (got <= 0) {             // at a stop: nothing is under way
                bury(client);
                return;
            }
            client->begin = 0;
            client->end = (size_t)got;
        }
    }
    int isSending = client->begin < client->end;
    if (isSending != wasSending)
        watch(watched, EPOLL_CTL_MOD, isSending ? EPOLLOUT : EPOLLIN);
}

// Who it is, if the kernel knows, and if somebody reads it.
static void logPeer(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
        peer.pid != 0 && poll(&output, 1, 0) == 1)
        dprintf(STDOUT_FILENO, "client: pid %d, uid %u, gid %u\n", peer.pid,
                peer.uid, peer.gid);
}

// ---- listeners

static void setAccepting(int accepting)
{
    paused = !accepting;
    for (int i = 0; i < 2; i++)
        if (listeners[i].fd != -1)
            watch(&listeners[i], EPOLL_CTL_MOD, accepting ? EPOLLIN : 0);
}

static void onListener(Watched *watched)
{
    if (stopping || paused)
        return;
    if (clientCount == MostClients) {
        setAccepting(0);
        return;
    }
    int fd = accept4(watched->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd == -1) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
            errno == ENOMEM)
            setAccepting(0);
        return;                         // the rest is one client's matter
    }
    Client *client = calloc(1, sizeof(*client));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (client == NULL || epoll_ctl(epollFd, EPOLL_CTL_ADD, fd, &event) == -1) {
        error(0, errno, "a client is refused");
        free(client);
        close(fd);
        return;
    }
    logPeer(fd);
    client->watched = (Watched){.onEvent = onClient, .fd = fd};
    client->next = clients;
    if (clients != NULL)
        clients->previous = client;
    clients = client;
    clientCount++;
}

static void removeOwnFile(void)
{
    struct stat file;
    if (ownPath != NULL && lstat(ownPath, &file) == 0 &&
        file.st_dev == ownFile.st_dev && file.st_ino == ownFile.st_ino)
        unlink(ownPath);
    ownPath = NULL;
}

static void addListener(Watched *watched, int fd)
{
    if (listen(fd, 64) == -1) {
        int why = errno;
        removeOwnFile();
        error(1, why, "listen");
    }
    *watched = (Watched){.onEvent = onListener, .fd = fd};
    watch(watched, EPOLL_CTL_ADD, EPOLLIN);
}

static void openPort(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_family = host != NULL ? AF_UNSPEC : AF_INET,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    int wrong = getaddrinfo(host, port, &hints, &found), yes = 1;
    if (wrong != 0)
        error(1, 0, "resolve %s: %s", host, gai_strerror(wrong));
    int fd = socket(found->ai_family,
                    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        error(1, errno, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(fd, found->ai_addr, found->ai_addrlen) == -1)
        error(1, errno, "bind");
    freeaddrinfo(found);
    addListener(&listeners[1], fd);
}

// The address of a path, or of an abstract name after "@"; its length.
static socklen_t setAddress(struct sockaddr_un *address, const char *path)
{
    size_t length = strlen(path);
    int isAbstract = path[0] == '@';
    if (length + !isAbstract > sizeof(address->sun_path))
        error(1, ENAMETOOLONG, "path %s", path);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, length);
    if (isAbstract)
        address->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length +
                       !isAbstract);
}

// Whether there is a socket file, and nobody who listens.
static int isStale(const struct sockaddr_un *address, socklen_t length)
{
    struct stat file;
    if (lstat(address->sun_path, &file) == -1 || !S_ISSOCK(file.st_mode))
        return 0;
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe == -1)
        return 0;
    int refused = connect(probe, (const struct sockaddr *)address, length) == -1
                  && errno == ECONNREFUSED;
    close(probe);
    return refused;
}

static void openPath(const char *path)
{
    struct sockaddr_un address;
    socklen_t length = setAddress(&address, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        error(1, errno, "socket");
    fchmod(fd, S_IRUSR | S_IWUSR);      // on Linux the file has that mode
    int result = bind(fd, (struct sockaddr *)&address, length);
    if (result == -1 && errno == EADDRINUSE && path[0] != '@') {
        if (isStale(&address, length) && unlink(path) == 0)
            result = bind(fd, (struct sockaddr *)&address, length);
        else
            errno = EADDRINUSE;
    }
    if (result == -1)
        error(1, errno, "bind %s", path);
    if (path[0] != '@' && lstat(path, &ownFile) == 0)
        ownPath = path;
    addListener(&listeners[0], fd);
}

// One server at a time looks for a place in the folder.
static int lockFolder(const char *path)
{
    char *copy = strdup(path);
    if (copy == NULL)
        error(1, errno, "path %s", path);
    int lock = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock == -1 || flock(lock, LOCK_EX) == -1)
        error(1, errno, "folder of %s", path);
    free(copy);
    return lock;
}

// ---- the end

static void onStop(Watched *watched)
{
    stopping = 1;
    finishAt = nowMs() + FinishMs;
    watch(watched, EPOLL_CTL_DEL, 0);
    removeOwnFile();
    for (int i = 0; i < 2; i++)
        if (listeners[i].fd != -1)
            close(listeners[i].fd);
    for (Client *client = clients, *next; client != NULL; client = next) {
        next = client->next;
        onClient(&client->watched);
    }
}

static void openStopper(void)
{
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigprocmask(SIG_BLOCK, &stops, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &stops, SFD_CLOEXEC);
    if (fd == -1)
        error(1, errno, "signalfd");
    stopper = (Watched){.onEvent = onStop, .fd = fd};
    watch(&stopper, EPOLL_CTL_ADD, EPOLLIN);
}

static int timeLimit(void)
{
    if (!stopping)
        return paused ? PauseMs : -1;
    long long left = finishAt - nowMs();
    return left > 0 ? (int)left : 0;
}

static void usage(void)
{
    fprintf(stderr, "usage: %s [-U PATH] [-H HOST] [-P PORT]\n",
            program_invocation_short_name);
    exit(2);
}

int main(int argc, char *argv[])
{
    const char *path = NULL, *host = NULL, *port = NULL;
    char *end;
    for (int option; (option = getopt(argc, argv, "U:H:P:")) != -1;) {
        if (option == 'U' && strcmp(optarg, "") != 0 &&
            strcmp(optarg, "@") != 0)
            path = optarg;
        else if (option == 'H')
            host = optarg;
        else if (option == 'P' && optarg[0] >= '0' && optarg[0] <= '9' &&
                 strtoul(optarg, &end, 10) <= 65535 && *end == '\0')
            port = optarg;
        else
            usage();
    }
    if (optind != argc)
        usage();
    if (host != NULL && port == NULL)
        port = "9090";
    if (path == NULL && port == NULL)
        path = "echo.sock";

    int lock = path != NULL && path[0] != '@' ? lockFolder(path) : -1;
    epollFd = epoll_create1(EPOLL_CLOEXEC);
    if (epollFd == -1)
        error(1, errno, "epoll_create1");
    openStopper();
    if (path != NULL)
        openPath(path);
    if (lock != -1)
        close(lock);
    if (port != NULL)
        openPort(host, port);

    while (!stopping || (clients != NULL && nowMs() < finishAt)) {
        struct epoll_event events[32];
        int count = epoll_wait(epollFd, events, 32, timeLimit());
        if (count == -1 && errno != EINTR)
            error(1, errno, "epoll_wait");
        if (paused && !stopping && clientCount < MostClients)
            setAccepting(1);
        for (int i = 0; i < count; i++) {
            Watched *watched = events[i].data.ptr;
            watched->onEvent(watched);
        }
        freeBuried();
    }
    while (clients != NULL)
        bury(clients);
    freeBuried();
    removeOwnFile();
    return 0;
}
