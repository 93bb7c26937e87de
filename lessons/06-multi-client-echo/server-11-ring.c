/*
 * An echo server for many clients: one thread serves them all. io_uring(7) is
 * told what is to be done, and says what has been done.
 *
 * Run: build/lessons/06-multi-client-echo/server-11-ring -P 8080
 *      and, in two more terminals, nc 127.0.0.1 8080
 * Links: -luring
 *
 * Changed since step 10: the program asks for whole operations in place of
 * events, and one system call hands over many of them and brings many results.
 * One multishot accept brings all clients. One multishot receive for each
 * client brings all that it sends, into buffers that the clients share: the
 * kernel takes one when bytes are there. The program sends from the same buffer
 * and gives it back. A client that holds many buffers is not received from
 * until they are sent.
 *
 * Still wrong:
 * - It needs Linux 6.0, and many systems forbid io_uring. It says so and ends
 *   with status 1 there (12).
 * - A client that does not read its reply holds up the end (12).
 */
#define _GNU_SOURCE /* for liburing.h */

#include "ss_listen.h"
#include "ss_stop.h"

#include <errno.h>
#include <liburing.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "8080"
#define DEFAULT_CLIENTS 10000
#define MOST_CLIENTS 100000
#define BACKLOG 1024
#define BUFFER_SIZE 2048
#define BUFFERS 4096 /* a power of two, for all clients together */
#define GROUP 1      /* the number of this set of buffers */
#define HELD_MAX 4   /* buffers of one client, before it has to wait */
#define REQUESTS 256
#define RESULTS 4096
#define PAUSE_MS 100

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
    int clients; /* So many are served at a time. */
};

struct client {
    int connection;
    int number;     /* of the list of all clients */
    int held;       /* buffers with bytes that are not sent yet */
    unsigned first; /* the buffer that is sent now */
    unsigned last;
    unsigned begin; /* From here on, the first buffer is not sent. */
    bool receiving; /* The kernel has a request to receive, */
    bool sending;   /* ... or one to send. */
    bool starved;   /* There was no buffer. */
    bool ended;     /* There will be no more to receive. */
    bool lost;      /* Nobody will read the replies. */
    bool leaving;   /* After a stop: what comes has no reply any more. */
};

/* One buffer: its bytes, and its place in the list of its client. */
struct piece {
    unsigned length;
    unsigned next;
    char bytes[BUFFER_SIZE];
};

struct server {
    int listener;
    int clients; /* so many at most */
    int count;   /* so many there are */
    int starved; /* so many of them wait for a buffer */
    struct client **client;
    bool accepting; /* The kernel has the request. */
    bool lacking;   /* There was no descriptor or no memory for a client. */
    bool told;      /* ... and that has been said. */
    bool stopped;   /* The end has been asked for. */
    struct io_uring ring;
    struct io_uring_buf_ring *buffers; /* those that the kernel may fill */
    unsigned free_buffers;
    struct piece *piece; /* all BUFFERS of them */
};

/* What a result is the result of. It stands in the low bits of the number that
 * goes with each request; the rest is the client's address. */
enum task { ACCEPT, RECEIVE, SEND, STOP, NOTHING, TASK_MASK = 7 };

static const char *program = "server";
static struct ss_stop stop; /* SIGTERM and SIGINT, as a descriptor */

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

static bool is_number(const char *text, long least, long most)
{
    /* strtol(3) allows blanks and a sign before the digits; we do not. */
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && number >= least && number <= most;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {
        .host = NULL, .port = DEFAULT_PORT, .clients = DEFAULT_CLIENTS};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:N:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_number(optarg, 0, 65535))
            options.port = optarg; /* "0": the kernel chooses one */
        else if (option == 'N' && is_number(optarg, 1, MOST_CLIENTS))
            options.clients = (int)strtol(optarg, NULL, 10);
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT] [-N CLIENTS]\n",
                program);
        exit(2);
    }
    return options;
}

/* A listening socket, or -1 after a complaint. */
static int open_listener(const struct options *options)
{
    const char *host = options->host != NULL ? options->host : "0.0.0.0";
    int listener = -1;
    size_t count = 0;
    int resolver = 0;
    if (ss_listen(host, options->port, SOCK_STREAM, BACKLOG, &listener, 1,
                  &count, &resolver) == 0)
        return listener;
    fprintf(stderr, "%s: listen %s port %s: %s\n", program, host, options->port,
            resolver == 0 || resolver == EAI_SYSTEM ? strerror(errno)
                                                    : gai_strerror(resolver));
    return -1;
}

/* The next free request; it goes to the kernel with the others. */
static struct io_uring_sqe *new_request(struct server *server)
{
    struct io_uring_sqe *request;
    while ((request = io_uring_get_sqe(&server->ring)) == NULL)
        io_uring_submit(&server->ring); /* Then the queue is empty. */
    return request;
}

static uint64_t tag_of(enum task task, const struct client *client)
{
    return (uint64_t)(uintptr_t)client | (uint64_t)task;
}

/* Asks for clients: while there is room for a whole queue of them, one result
 * for each until further notice, and then for one. */
static void ask_accept(struct server *server)
{
    int room = server->clients - server->count;
    if (server->listener == -1 || server->accepting || server->lacking ||
        room == 0)
        return;
    struct io_uring_sqe *request = new_request(server);
    if (room > BACKLOG)
        io_uring_prep_multishot_accept(request, server->listener, NULL, NULL,
                                       SOCK_CLOEXEC);
    else
        io_uring_prep_accept(request, server->listener, NULL, NULL,
                             SOCK_CLOEXEC);
    io_uring_sqe_set_data64(request, tag_of(ACCEPT, NULL));
    server->accepting = true;
}

/* Asks for all that comes, one result for each buffer that is filled. */
static void ask_receive(struct server *server, struct client *client)
{
    struct io_uring_sqe *request = new_request(server);
    io_uring_prep_recv_multishot(request, client->connection, NULL, 0, 0);
    request->flags |= IOSQE_BUFFER_SELECT;
    request->buf_group = GROUP;
    io_uring_sqe_set_data64(request, tag_of(RECEIVE, client));
    client->receiving = true;
}

/* Asks to send what is left of the client's first buffer. */
static void ask_send(struct server *server, struct client *client)
{
    struct io_uring_sqe *request = new_request(server);
    const struct piece *piece = &server->piece[client->first];
    io_uring_prep_send(request, client->connection,
                       piece->bytes + client->begin,
                       piece->length - client->begin, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(request, tag_of(SEND, client));
    client->sending = true;
}

/* Takes a request back. If it is too late for that, nothing happens. */
static void ask_cancel(struct server *server, uint64_t tag)
{
    struct io_uring_sqe *request = new_request(server);
    io_uring_prep_cancel64(request, tag, 0);
    io_uring_sqe_set_data64(request, tag_of(NOTHING, NULL));
}

/* Hands a buffer to the kernel. */
static void give_buffer(struct server *server, unsigned number)
{
    io_uring_buf_ring_add(server->buffers, server->piece[number].bytes,
                          BUFFER_SIZE, (unsigned short)number,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(server->buffers, 1);
    server->free_buffers++;
}

/* Gives the client's first buffer back. */
static void give_first_buffer(struct server *server, struct client *client)
{
    unsigned number = client->first;
    client->first = server->piece[number].next;
    client->begin = 0;
    client->held--;
    give_buffer(server, number);
}

/* A client for whom there is no memory is refused. */
static void add_client(struct server *server, int connection)
{
    struct client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        complain("client");
        close(connection);
        return;
    }
    client->connection = connection;
    client->number = server->count;
    server->client[server->count++] = client;
    ask_receive(server, client);
}

/* The last client takes its number. */
static void drop_client(struct server *server, struct client *client)
{
    close(client->connection); /* Best effort: nothing is left to send. */
    struct client *last = server->client[--server->count];
    last->number = client->number;
    server->client[last->number] = last;
    free(client);
    server->lacking = false; /* There is a descriptor again. */
}

/* Asks for what is to be done next for a client, or drops it. */
static void go_on(struct server *server, struct client *client)
{
    if (client->sending)
        return; /* The kernel has the first buffer. */
    while ((client->lost || client->leaving) && client->held > 0)
        give_first_buffer(server, client); /* It has no reply. */
    if (client->held > 0) {
        ask_send(server, client);
    } else if (client->ended && !client->receiving) {
        drop_client(server, client);
    } else if (!client->ended && !client->receiving && !client->starved) {
        client->starved = server->free_buffers == 0;
        if (client->starved)
            server->starved++;
        else
            ask_receive(server, client);
    }
}

static void lose_client(struct client *client, const char *what, int error)
{
    if (!client->lost) {
        errno = error;
        complain(what);
    }
    client->lost = true;
    client->ended = true;
    /* Best effort: it ends a request to receive that is still there. */
    shutdown(client->connection, SHUT_RDWR);
}

/* A buffer was filled, or there will be no more of them for now. */
static void received(struct server *server, struct client *client, int result,
                     unsigned flags)
{
    client->receiving = (flags & IORING_CQE_F_MORE) != 0;
    if (result > 0) {
        unsigned number = flags >> IORING_CQE_BUFFER_SHIFT;
        server->free_buffers--;
        server->piece[number].length = (unsigned)result;
        if (client->held == 0)
            client->first = number;
        else
            server->piece[client->last].next = number;
        client->last = number;
        client->held++;
        /* Who does not read the replies gets no more buffers. */
        if (client->held >= HELD_MAX && client->receiving)
            ask_cancel(server, tag_of(RECEIVE, client));
    } else if (result == 0) {
        client->ended = true; /* The client has sent its last byte. */
    } else if (result != -ENOBUFS && result != -ECANCELED && result != -EINTR) {
        lose_client(client, "recv", -result);
    }
    go_on(server, client);
}

/* A part of a buffer, or all of it, was sent. */
static void sent(struct server *server, struct client *client, int result)
{
    client->sending = false;
    if (result >= 0) {
        client->begin += (unsigned)result;
        if (client->begin == server->piece[client->first].length)
            give_first_buffer(server, client);
    } else if (result != -EINTR && result != -EAGAIN) {
        lose_client(client, "send", -result);
    }
    go_on(server, client);
}

/* 0 where clients can be accepted again; -1 after a complaint. */
static int after_failed_accept(struct server *server, int error)
{
    errno = error;
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (!server->told)
            complain("accept"); /* once, not for every pause */
        server->told = true;
        server->lacking = true;
        return 0;
    case ECANCELED: /* We have taken the request back. */
    case EAGAIN:
    case EINTR:
    case ECONNABORTED: /* The client left before it was accepted. */
    case EPROTO:       /* From here on: errors of the network, which Linux */
    case ENETDOWN:     /* hands to accept(2) for the new connection. */
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
    case EPERM: /* A rule of the firewall. */
        return 0;
    default:
        complain("accept");
        return -1;
    }
}

/* A client has come, or none can come for now; -1 after a complaint. */
static int accepted(struct server *server, int result, unsigned flags)
{
    server->accepting = (flags & IORING_CQE_F_MORE) != 0;
    if (result < 0)
        return after_failed_accept(server, -result);
    if (server->listener == -1 || server->count == server->clients) {
        close(result); /* It came while the request was taken back. */
        return 0;
    }
    server->told = false;
    add_client(server, result);
    if (server->accepting && server->clients - server->count == BACKLOG)
        ask_cancel(server, tag_of(ACCEPT, NULL)); /* One at a time now. */
    return 0;
}

/* Whether nothing of this client is under way. */
static bool is_idle(const struct client *client)
{
    int unread = 0;
    return client->held == 0 && !client->sending &&
           ioctl(client->connection, FIONREAD, &unread) == 0 && unread == 0;
}

/* Closes the port, and drops the clients for whom nothing is under way. */
static void begin_end(struct server *server)
{
    if (server->accepting)
        ask_cancel(server, tag_of(ACCEPT, NULL)); /* It holds the socket. */
    close(server->listener); /* Best effort: nothing is left to lose. */
    server->listener = -1;
    for (int i = 0; i < server->count; i++)
        if (is_idle(server->client[i])) /* Then receiving ends with 0. */
            shutdown(server->client[i]->connection, SHUT_RDWR);
}

/* After a stop: tells a client whose reply is complete the end of the stream.
 * A close(2) with unread bytes would send a reset, which can overtake the
 * reply: what the client still sends is read, until it ends as well. */
static void take_leave(struct client *client)
{
    if (client->leaving || !is_idle(client))
        return;
    shutdown(client->connection, SHUT_WR); /* Best effort: it may be lost. */
    client->leaving = true;
}

/* Lets those who found no buffer try again. */
static void feed_starved(struct server *server)
{
    for (int i = server->count - 1; i >= 0 && server->starved > 0; i--) {
        struct client *client = server->client[i];
        if (!client->starved || server->free_buffers == 0)
            continue;
        client->starved = false;
        server->starved--;
        go_on(server, client);
    }
}

/* Does what one result asks for; -1 after a complaint. */
static int take_result(struct server *server, const struct io_uring_cqe *result)
{
    struct client *client =
        (struct client *)(uintptr_t)(result->user_data & ~(uint64_t)TASK_MASK);
    switch ((enum task)(result->user_data & TASK_MASK)) {
    case ACCEPT:
        return accepted(server, result->res, result->flags);
    case RECEIVE:
        received(server, client, result->res, result->flags);
        return 0;
    case SEND:
        sent(server, client, result->res);
        return 0;
    case STOP:
        server->stopped = true; /* What has come already comes first. */
        return 0;
    default:
        return 0;
    }
}

/* Serves all clients until a stop, and then until they are served; -1 after
 * a complaint. */
static int serve(struct server *server)
{
    struct io_uring_sqe *request = new_request(server);
    io_uring_prep_poll_add(request, stop.fd, POLLIN);
    io_uring_sqe_set_data64(request, tag_of(STOP, NULL));
    while (server->listener != -1 || server->accepting || server->count > 0) {
        struct __kernel_timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
        struct io_uring_cqe *result;
        ask_accept(server);
        int error = io_uring_submit_and_wait_timeout(
            &server->ring, &result, 1, server->lacking ? &pause : NULL, NULL);
        if (error == -ETIME)
            server->lacking = false; /* The pause is over. */
        if (error < 0 && error != -EINTR && error != -ETIME) {
            errno = -error;
            complain("io_uring_enter");
            return -1;
        }
        while (io_uring_peek_cqe(&server->ring, &result) == 0) {
            int failed = take_result(server, result);
            io_uring_cqe_seen(&server->ring, result);
            if (failed == -1)
                return -1;
        }
        if (server->stopped && server->listener != -1)
            begin_end(server);
        for (int i = 0; server->stopped && i < server->count; i++)
            take_leave(server->client[i]);
        feed_starved(server);
    }
    return 0;
}

/* Makes the ring and the buffers; -1 after a complaint. */
static int open_ring(struct server *server)
{
    /* The second flag is as young as multishot receiving: Linux 6.0. */
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE |
                                              IORING_SETUP_SINGLE_ISSUER,
                                     .cq_entries = RESULTS};
    int error = io_uring_queue_init_params(REQUESTS, &server->ring, &params);
    if (error < 0) {
        errno = -error;
        complain(error == -EINVAL ? "io_uring, of which Linux 6.0 is needed"
                                  : "io_uring, which this system lacks or "
                                    "forbids");
        return -1;
    }
    struct io_uring_buf_reg group = {.ring_addr =
                                         (uint64_t)(uintptr_t)server->buffers,
                                     .ring_entries = BUFFERS,
                                     .bgid = GROUP};
    error = io_uring_register_buf_ring(&server->ring, &group, 0);
    if (error < 0) {
        errno = -error;
        complain("buffers provided to io_uring");
        io_uring_queue_exit(&server->ring);
        return -1;
    }
    io_uring_buf_ring_init(server->buffers);
    for (unsigned i = 0; i < BUFFERS; i++)
        give_buffer(server, i);
    return 0;
}

/* Memory for all that the server holds; false without. */
static bool allocate(struct server *server)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *buffers = NULL;
    server->client = calloc((size_t)server->clients, sizeof(*server->client));
    server->piece = calloc(BUFFERS, sizeof(*server->piece));
    errno =
        posix_memalign(&buffers, page, BUFFERS * sizeof(struct io_uring_buf));
    server->buffers = errno == 0 ? buffers : NULL;
    return server->client != NULL && server->piece != NULL && buffers != NULL;
}

static void release(struct server *server)
{
    free(server->client);
    free(server->piece);
    free(server->buffers);
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct server server = {.listener = -1, .clients = options.clients};
    if (!allocate(&server) || ss_stop_open(&stop) == -1) {
        complain("start");
        release(&server);
        return 1;
    }
    int result = -1;
    if (open_ring(&server) == 0) {
        server.listener = open_listener(&options);
        if (server.listener != -1)
            result = serve(&server);
        io_uring_queue_exit(&server.ring); /* It ends what is under way. */
    }
    while (server.count > 0) {
        struct client *client = server.client[--server.count];
        close(client->connection);
        free(client);
    }
    if (server.listener != -1)
        close(server.listener); /* Best effort: the program ends anyway. */
    ss_stop_close(&stop);
    release(&server);
    return result == 0 ? 0 : 1;
}
