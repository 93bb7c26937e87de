/* A sound echo server: a pool of threads, which grows to 150 and never shrinks,
 * and a queue of clients for whom none is free.
 */
#include "foreign_server.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>

enum { WORKERS = 150, ROOM = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static int queue[ROOM];                 /* connections; these under lock */
static int first, length, busy;         /* busy: threads with a client */
static bool over;
static int stop, taken;                 /* descriptors, set before any thread */

static int next_client(void)
{
    pthread_mutex_lock(&lock);
    while (length == 0 && !over)
        pthread_cond_wait(&more, &lock);
    int connection = -1;
    if (length > 0) {
        busy++;
        connection = queue[first];
        first = (first + 1) % ROOM;
        length--;
    }
    pthread_mutex_unlock(&lock);
    return connection;
}

static void *work(void *nothing)
{
    for (int connection; (connection = next_client()) != -1;) {
        uint64_t one = 1;
        if (write(taken, &one, sizeof(one)) == -1)
            complain("write");
        echo(connection, stop);
        close(connection);
        pthread_mutex_lock(&lock);
        busy--;
        pthread_mutex_unlock(&lock);
    }
    return nothing;
}

static bool is_full(void)
{
    uint64_t number;
    if (read(taken, &number, sizeof(number)) == -1 && errno != EAGAIN)
        complain("read");
    pthread_mutex_lock(&lock);
    bool full = length == ROOM;
    pthread_mutex_unlock(&lock);
    return full;
}

static void put(int connection)
{
    pthread_mutex_lock(&lock);
    queue[(first + length++) % ROOM] = connection;
    pthread_cond_signal(&more);
    pthread_mutex_unlock(&lock);
}

/* A thread for each who waits; false where one can't be had just now. */
static bool grow(pthread_t workers[], int *count)
{
    pthread_mutex_lock(&lock);
    int wanted = length + busy;
    pthread_mutex_unlock(&lock);
    while (*count < wanted && *count < WORKERS) {
        errno = pthread_create(&workers[*count], NULL, work, NULL);
        if (errno != 0) {
            complain("thread");
            return false;
        }
        ++*count;
    }
    return true;
}

int main(int argc, char *argv[])
{
    stop = open_stop();
    int listener = open_listener(argc, argv);
    taken = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (taken == -1)
        fail("eventfd");
    pthread_t workers[WORKERS];
    int count = 0;
    bool paused = false;
    for (;;) {
        bool full = is_full(), grown = grow(workers, &count);
        struct pollfd wanted[3] = {
            {.fd = stop, .events = POLLIN},
            {.fd = taken, .events = POLLIN},
            {.fd = paused || full ? -1 : listener, .events = POLLIN}};
        int ready = poll(wanted, 3, paused || !grown ? PAUSE_MS : -1);
        if (ready == -1 && errno != EINTR)
            fail("poll");
        paused = false;
        if (ready == -1)
            continue;
        if (wanted[0].revents != 0)
            break;
        if (wanted[2].revents != 0) {
            int connection = take_client(listener, &paused);
            if (connection != -1)
                put(connection);
        }
    }
    close(listener);
    pthread_mutex_lock(&lock);
    over = true;
    pthread_cond_broadcast(&more);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < count; i++)
        pthread_join(workers[i], NULL);
    close(taken);
    close(stop);
    return 0;
}
