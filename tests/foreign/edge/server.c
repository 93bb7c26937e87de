/* A sound echo server: one thread, edge-triggered epoll(7), many clients.
 *
 * The kernel tells each change once. What it told is kept in flags until a
 * call says EAGAIN, and clients that can go on take turns, one piece each.
 */
#include "foreign_server.h"

#include <sys/epoll.h>

struct client {
    struct client *before, *after;      /* in the list of all */
    struct client *next;                /* in the list of those who can go on */
    int connection;
    bool in_turn, readable, writable;
    size_t held, done;
    char piece[PIECE];
};

static struct client all = {.before = &all, .after = &all};
static struct client *turn_first, *turn_last;
static int epoll;
static long long deadline = -1, moved_at = -1;

static bool can_go_on(const struct client *client)
{
    return client->done < client->held ? client->writable : client->readable;
}

static void queue(struct client *client)
{
    if (client->in_turn || !can_go_on(client))
        return;
    client->in_turn = true;
    client->next = NULL;
    if (turn_first == NULL)
        turn_first = client;
    else
        turn_last->next = client;
    turn_last = client;
}

static void drop(struct client *client)
{
    client->before->after = client->after;
    client->after->before = client->before;
    close(client->connection);
    free(client);
}

static void add(int connection)
{
    struct client *client = calloc(1, sizeof(*client));
    if (client != NULL) {
        client->connection = connection;
        struct epoll_event event = {
            .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
            .data.ptr = client};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection, &event) == 0) {
            client->after = &all;
            client->before = all.before;
            client->before->after = client;
            all.before = client;
            return;
        }
    }
    complain("client");
    free(client);
    close(connection);
}

/* One piece in, one piece out; false when the client is done with. */
static bool go_on(struct client *client)
{
    if (client->done == client->held) {
        ssize_t got = recv(client->connection, client->piece, PIECE, 0);
        if (got == -1 && errno == EAGAIN)
            client->readable = false;
        if (got == -1)
            return is_passing(errno);
        if (got == 0)
            return false;
        client->held = (size_t)got;
        client->done = 0;
    }
    ssize_t sent = send(client->connection, client->piece + client->done,
                        client->held - client->done, MSG_NOSIGNAL);
    if (sent == -1 && errno == EAGAIN)
        client->writable = false;
    if (sent == -1)
        return is_passing(errno);
    client->done += (size_t)sent;
    moved_at = now_ms();
    return true;
}

static void take_turns(void)
{
    struct client *client = turn_first;
    turn_first = turn_last = NULL;
    while (client != NULL) {
        struct client *next = client->next;
        client->in_turn = false;
        if (go_on(client))
            queue(client);
        else
            drop(client);
        client = next;
    }
}

/* After a stop: nothing is held, and nothing came for a while. */
static bool is_over(void)
{
    if (deadline == -1)
        return false;
    bool busy = moved_at != -1 && now_ms() < moved_at + QUIET_MS;
    for (struct client *client = all.after; client != &all;
         client = client->after)
        busy = busy || client->done < client->held;
    return all.after == &all || now_ms() >= deadline ||
           (!busy && turn_first == NULL);
}

static int time_limit(bool paused)
{
    if (turn_first != NULL)
        return 0;
    if (deadline == -1)
        return paused ? PAUSE_MS : -1;
    long long end = deadline;
    if (moved_at != -1 && moved_at + QUIET_MS > now_ms() &&
        moved_at + QUIET_MS < end)
        end = moved_at + QUIET_MS;
    long long left = end - now_ms();
    return left < 0 ? 0 : (int)left + 1;
}

static void watch(int descriptor, int *mark, unsigned mode)
{
    struct epoll_event event = {.events = EPOLLIN | mode, .data.ptr = mark};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == -1)
        fail("epoll_ctl");
}

int main(int argc, char *argv[])
{
    int stop = open_stop();
    int listener = open_listener(argc, argv);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll == -1)
        fail("epoll_create1");
    watch(stop, &stop, 0);
    watch(listener, &listener, EPOLLET);
    bool waiting = false, paused = false;       /* clients in the queue */
    while (!is_over()) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64,
                               waiting && !paused ? 0 : time_limit(paused));
        if (ready == -1 && errno != EINTR)
            fail("epoll_wait");
        paused = false;
        for (int i = 0; i < ready; i++) {
            void *which = events[i].data.ptr;
            if (which == &listener) {
                waiting = deadline == -1;
            } else if (which == &stop) {
                deadline = now_ms() + FINISH_MS;
                epoll_ctl(epoll, EPOLL_CTL_DEL, stop, NULL);
                close(listener);
                waiting = false;
                moved_at = -1;
            } else {
                struct client *client = which;
                if (events[i].events & ~(unsigned)EPOLLOUT)
                    client->readable = true;
                if (events[i].events & ~(unsigned)(EPOLLIN | EPOLLRDHUP))
                    client->writable = true;
                queue(client);
            }
        }
        take_turns();
        if (waiting) {
            int connection = take_client(listener, &paused);
            if (connection != -1)
                add(connection);
            else if (errno == EAGAIN)
                waiting = false;
        }
    }
    while (all.after != &all)
        drop(all.after);
    if (deadline == -1)
        close(listener);
    close(epoll);
    close(stop);
    return 0;
}
