/* ss_stop.h - an orderly end by SIGINT and SIGTERM.
 *
 * A handler that sets a flag loses the signal that comes after the flag was
 * looked at and before the wait began: the program then waits for ever. Here
 * the two signals stay blocked, and a request to end is a descriptor that
 * becomes readable, in the same wait as the sockets. Nobody reads it, so it
 * stays readable: every wait from then on sees the request, in every thread.
 *
 * Threads: open it before any thread is created, so that all of them have the
 * signals blocked; in a thread that has not, the signal would end the process.
 * Any number of threads may wait on it and ask it at once. A signal must be
 * sent to the process (kill(2)), not to a thread (pthread_kill(3)), whose
 * signals no other thread sees. To ask for the end from inside: kill(getpid(),
 * SIGTERM). One thread closes it, after the others are joined.
 *
 * Processes: a forked child has the signals blocked too, and sees in the
 * descriptor the signals that are sent to itself. Before it runs another
 * program it must call ss_stop_unblock(), or that program cannot be ended.
 *
 * An ignored signal stays ignored: a shell starts background programs so.
 *
 * Source: signalfd(2), which is Linux only; sigprocmask(2), signal(7).
 */
#ifndef SS_STOP_H
#define SS_STOP_H

#include "ss_time.h"

#include <signal.h>
#include <stdbool.h>

struct ss_stop {
    int fd;          /* for poll(2) and its kin: POLLIN is the request */
    sigset_t before; /* the mask that the thread had */
};

/* Blocks SIGINT and SIGTERM in the calling thread and opens the descriptor,
 * which is non-blocking and closed on exec.
 * Result: 0, or -1 with errno; then nothing has changed.
 * Ownership: ss_stop_close() gives the descriptor back.
 */
int ss_stop_open(struct ss_stop *stop);

/* Tells whether the end has been asked for.
 * Result: true if so. It cannot fail on an open `stop`, and once true it stays
 * true in this process. errno stays as it was.
 */
bool ss_stop_requested(const struct ss_stop *stop);

/* Waits until a descriptor is ready or the end is asked for.
 * fd, events, deadline: as of ss_wait(). fd -1: only the request counts.
 * Result: 0 if fd is ready, or -1 with ECANCELED if the end is asked for, which
 * comes first where both are true; ETIMEDOUT; an error of poll(2).
 */
int ss_stop_wait(const struct ss_stop *stop, int fd, short events,
                 const struct ss_deadline *deadline);

/* Closes the descriptor. The signals stay blocked, so that a second one cannot
 * cut the end short.
 */
void ss_stop_close(struct ss_stop *stop);

/* Gives the calling thread the mask from before ss_stop_open(), for a child
 * that runs another program, or for a program that goes on. A signal that is
 * pending then takes its usual effect, which by default ends the process.
 * Result: 0, or -1 with errno.
 */
int ss_stop_unblock(const struct ss_stop *stop);

#endif
