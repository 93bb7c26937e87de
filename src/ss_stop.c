/* ss_stop.c - see ss_stop.h. */
#define _POSIX_C_SOURCE 200809L

#include "ss_stop.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Adds a signal to a set, unless the program was started with it ignored. */
static int add_unless_ignored(sigset_t *set, int number)
{
    struct sigaction action;

    if (sigaction(number, NULL, &action) == -1) {
        return -1;
    }
    if ((action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_IGN) {
        return 0;
    }
    return sigaddset(set, number);
}

int ss_stop_open(struct ss_stop *stop)
{
    sigset_t set;
    int error;

    stop->fd = -1;
    sigemptyset(&set);
    if (add_unless_ignored(&set, SIGINT) == -1 ||
        add_unless_ignored(&set, SIGTERM) == -1) {
        return -1;
    }
    error = pthread_sigmask(SIG_BLOCK, &set, &stop->before);
    if (error != 0) {
        errno = error;
        return -1;
    }
    stop->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (stop->fd == -1) {
        error = errno;
        pthread_sigmask(SIG_SETMASK, &stop->before, NULL);
        errno = error;
        return -1;
    }
    return 0;
}

bool ss_stop_requested(const struct ss_stop *stop)
{
    struct ss_deadline now;
    int saved = errno;
    bool result;

    ss_deadline_set(&now, 0);
    result = ss_stop_wait(stop, -1, 0, &now) == -1 && errno == ECANCELED;
    errno = saved;
    return result;
}

int ss_stop_wait(const struct ss_stop *stop, int fd, short events,
                 const struct ss_deadline *deadline)
{
    struct pollfd entries[2] = {{stop->fd, POLLIN, 0}, {fd, events, 0}};

    for (;;) {
        int left_ms = ss_deadline_left_ms(deadline);
        int ready = poll(entries, 2, left_ms); /* it passes over fd -1 */

        if (ready == -1 && errno != EINTR) {
            return -1;
        }
        if (ready > 0) {
            if (entries[0].revents != 0) {
                errno = ECANCELED;
                return -1;
            }
            return 0;
        }
        /* An interrupted look at a passed deadline has seen nothing yet. */
        if (ready == 0 && left_ms == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
}

void ss_stop_close(struct ss_stop *stop)
{
    int saved = errno;

    /* Best effort: a signalfd has nothing that could be lost. */
    close(stop->fd);
    stop->fd = -1;
    errno = saved;
}

int ss_stop_unblock(const struct ss_stop *stop)
{
    int error = pthread_sigmask(SIG_SETMASK, &stop->before, NULL);

    if (error != 0) {
        errno = error;
        return -1;
    }
    return 0;
}
