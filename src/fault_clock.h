/* fault_clock.h - time that runs faster for the program: `clock@*=fast:N`.
 *
 * A program that waits one second for an answer makes a test wait a second.
 * Under such a plan the clocks of the program run N times as fast, and every
 * time limit that it gives to the kernel is divided by N, so that it sees
 * nothing unusual: what it was told to wait for it finds to have passed.
 *
 * These follow: clock_gettime gettimeofday time timespec_get, nanosleep
 * clock_nanosleep sleep usleep, poll ppoll select pselect epoll_wait
 * epoll_pwait epoll_pwait2, recvmmsg, SO_RCVTIMEO and SO_SNDTIMEO, alarm
 * setitimer getitimer timer_settime timerfd_settime, sigtimedwait,
 * sem_timedwait sem_clockwait pthread_cond_timedwait pthread_cond_clockwait.
 * These do not: clocks of processor time, limits of the kernel's own (such as
 * TCP's), the other timed calls of pthread, and what reads a clock without
 * the C library.
 *
 * A point in time that is given without its clock is taken to be of the real
 * time or the monotonic clock, whichever is nearer.
 */
#ifndef FAULT_CLOCK_H
#define FAULT_CLOCK_H

#include <sys/time.h>
#include <time.h>

#pragma GCC visibility push(hidden)

/* Starts the fast clock. factor: 1 leaves time as it is. */
void fault_clock_start(unsigned factor);

/* A limit in milliseconds as the kernel shall have it, rounded up; 0 and
 * negative ones stay as they are.
 */
int fault_clock_ms(int limit_ms);

/* The same for a limit that may be NULL. `copy`: room for the result.
 * Result: NULL, or what the kernel shall have.
 */
const struct timespec *fault_clock_spec(const struct timespec *limit,
                                        struct timespec *copy);
struct timeval *fault_clock_val(const struct timeval *limit,
                                struct timeval *copy);

/* What the kernel says is left of a limit, as the program shall see it. */
void fault_clock_spec_back(struct timespec *left);
void fault_clock_val_back(struct timeval *left);

#pragma GCC visibility pop

#endif
