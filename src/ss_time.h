/* ss_time.h - deadlines.
 *
 * A time limit is a point in time, not a duration: work of several calls
 * then has one limit, and no interruption makes it longer.
 */
#ifndef SS_TIME_H
#define SS_TIME_H

#include <time.h>

struct ss_deadline {
    struct timespec at; /* of CLOCK_MONOTONIC */
};

/* Sets a deadline that many milliseconds from now.
 * timeout_ms: 0 or more; with 0 it has passed at once, and a transfer does
 * only what can be done without waiting. A negative value counts as 0.
 * Thread safety: as for any variable. Once set, many threads may read it.
 * Source: clock_gettime(2).
 */
void ss_deadline_set(struct ss_deadline *deadline, int timeout_ms);

/* Tells how much time is left, as poll(2) and epoll_wait(2) want it.
 * deadline: NULL means that there is no limit.
 * Result: milliseconds, rounded up so that nobody wakes too early and spins;
 * 0 if the deadline has passed, -1 for no limit, INT_MAX at most.
 */
int ss_deadline_left_ms(const struct ss_deadline *deadline);

#endif
