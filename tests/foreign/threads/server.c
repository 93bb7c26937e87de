/* A sound echo server: one thread a client, 200 at most, each of them joined. */
#include "foreign_server.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>

enum { MOST = 200 };

struct task {
    pthread_t thread;
    int connection;
    struct task *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct task *over;               /* ended, to be joined; under lock */
static int stop, ended;                 /* descriptors, set before any thread */

static void *serve(void *argument)
{
    struct task *task = argument;
    echo(task->connection, stop);
    close(task->connection);
    pthread_mutex_lock(&lock);
    task->next = over;
    over = task;
    pthread_mutex_unlock(&lock);
    uint64_t one = 1;
    if (write(ended, &one, sizeof(one)) == -1)
        complain("write");
    return NULL;
}

static int join_ended(void)
{
    uint64_t number;
    if (read(ended, &number, sizeof(number)) == -1 && errno != EAGAIN)
        complain("read");
    pthread_mutex_lock(&lock);
    struct task *list = over;
    over = NULL;
    pthread_mutex_unlock(&lock);
    int joined = 0;
    while (list != NULL) {
        struct task *next = list->next;
        pthread_join(list->thread, NULL);
        free(list);
        list = next;
        joined++;
    }
    return joined;
}

static bool start(int connection)
{
    struct task *task = malloc(sizeof(*task));
    if (task != NULL) {
        task->connection = connection;
        errno = pthread_create(&task->thread, NULL, serve, task);
        if (errno == 0)
            return true;
    }
    complain("thread");
    free(task);
    close(connection);
    return false;
}

int main(int argc, char *argv[])
{
    stop = open_stop();
    int listener = open_listener(argc, argv);
    ended = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ended == -1)
        fail("eventfd");
    int running = 0;
    bool paused = false;
    for (;;) {
        struct pollfd wanted[3] = {
            {.fd = stop, .events = POLLIN},
            {.fd = ended, .events = POLLIN},
            {.fd = paused || running == MOST ? -1 : listener,
             .events = POLLIN}};
        int ready = poll(wanted, 3, paused ? PAUSE_MS : -1);
        if (ready == -1 && errno != EINTR)
            fail("poll");
        paused = false;
        if (ready == -1)
            continue;
        if (wanted[0].revents != 0)
            break;
        if (wanted[1].revents != 0)
            running -= join_ended();
        if (wanted[2].revents != 0) {
            int connection = take_client(listener, &paused);
            running += connection != -1 && start(connection);
        }
    }
    close(listener);
    while (running > 0) {
        struct pollfd wanted = {.fd = ended, .events = POLLIN};
        poll(&wanted, 1, -1);
        running -= join_ended();
    }
    close(ended);
    close(stop);
    return 0;
}
