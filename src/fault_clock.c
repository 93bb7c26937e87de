/* fault_clock.c - see fault_clock.h. */
#define _DEFAULT_SOURCE /* usleep(3); not _GNU_SOURCE: see fault_preload.c */

#include "fault_clock.h"

#include "fault_log.h"
#include "fault_real.h"

#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000) /* in nanoseconds */

static unsigned factor = 1;
static int64_t started; /* by the monotonic clock, in nanoseconds */

/* ---- Times as one number ---- */

static int64_t from_spec(const struct timespec *time)
{
    return time->tv_sec * SECOND + time->tv_nsec;
}

static struct timespec to_spec(int64_t nanoseconds)
{
    struct timespec time = {nanoseconds / SECOND, nanoseconds % SECOND};

    return time;
}

static int64_t from_val(const struct timeval *time)
{
    return time->tv_sec * SECOND + time->tv_usec * 1000;
}

static struct timeval to_val(int64_t nanoseconds)
{
    struct timeval time = {nanoseconds / SECOND, nanoseconds % SECOND / 1000};

    return time;
}

/* Whether a time can be reckoned with. What cannot goes to the kernel as it
 * is, which refuses it or waits for ever.
 */
static int is_usual(int64_t seconds, int64_t part, int64_t parts)
{
    return seconds >= 0 && seconds < INT32_MAX && part >= 0 && part < parts;
}

/* The part of a duration that the kernel shall wait, rounded up to steps. */
static int64_t shorten(int64_t duration, int64_t step)
{
    int64_t divisor = factor * step;

    return (duration + divisor - 1) / divisor * step;
}

/* ---- The clocks ---- */

/* The functions, also for a call that comes before the preload's start. */
static const struct fault_real *real(void)
{
    if (fault_real.clock_gettime == NULL) {
        const char *missing = fault_real_load();

        if (missing != NULL) {
            fault_die("the C library has no function", missing);
        }
    }
    return &fault_real;
}

static int64_t kernel_time(clockid_t clock)
{
    struct timespec now = {0, 0};

    real()->clock_gettime(clock, &now); /* These clocks always work. */
    return from_spec(&now);
}

void fault_clock_start(unsigned wanted)
{
    started = kernel_time(CLOCK_MONOTONIC);
    factor = wanted;
}

/* How far the program's clocks are ahead of the kernel's. */
static int64_t ahead(void)
{
    if (factor == 1) {
        return 0;
    }
    return (int64_t)(factor - 1) * (kernel_time(CLOCK_MONOTONIC) - started);
}

/* Clocks of processor time have negative numbers, or one of these. */
static int runs_fast(clockid_t clock)
{
    return factor != 1 && clock >= 0 && clock != CLOCK_PROCESS_CPUTIME_ID &&
           clock != CLOCK_THREAD_CPUTIME_ID;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = real()->clock_gettime(clock, now);

    if (result == 0 && runs_fast(clock)) {
        *now = to_spec(from_spec(now) + ahead());
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    if (zone != NULL) {
        *(struct timezone *)zone = (struct timezone){0, 0};
    }
    *now = to_val(kernel_time(CLOCK_REALTIME) + ahead());
    return 0;
}

time_t time(time_t *result)
{
    /* The kernel's time(2) is the coarse clock, which lags a little. */
    time_t now =
        (kernel_time(factor == 1 ? CLOCK_REALTIME_COARSE : CLOCK_REALTIME) +
         ahead()) /
        SECOND;

    if (result != NULL) {
        *result = now;
    }
    return now;
}

int timespec_get(struct timespec *now, int base)
{
    if (base != TIME_UTC) {
        return 0;
    }
    return clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

/* ---- Durations ---- */

int fault_clock_ms(int limit_ms)
{
    return limit_ms > 0 ? (int)shorten(limit_ms, 1) : limit_ms;
}

const struct timespec *fault_clock_spec(const struct timespec *limit,
                                        struct timespec *copy)
{
    if (limit == NULL || factor == 1 ||
        !is_usual(limit->tv_sec, limit->tv_nsec, SECOND)) {
        return limit;
    }
    *copy = to_spec(shorten(from_spec(limit), 1));
    return copy;
}

struct timeval *fault_clock_val(const struct timeval *limit,
                                struct timeval *copy)
{
    if (limit == NULL) {
        return NULL;
    }
    *copy = *limit;
    if (factor != 1 && is_usual(limit->tv_sec, limit->tv_usec, 1000000)) {
        *copy = to_val(shorten(from_val(limit), 1000));
    }
    return copy;
}

void fault_clock_spec_back(struct timespec *left)
{
    *left = to_spec(from_spec(left) * factor);
}

void fault_clock_val_back(struct timeval *left)
{
    *left = to_val(from_val(left) * factor);
}

/* ---- Points in time ---- */

/* The kernel's time of a point in the program's time. */
static struct timespec point(clockid_t clock, const struct timespec *when)
{
    int64_t kernel = kernel_time(clock);
    int64_t left = from_spec(when) - (kernel + ahead());

    return to_spec(left > 0 ? kernel + shorten(left, 1) : kernel);
}

static int64_t distance(clockid_t clock, int64_t when)
{
    int64_t between = when - (kernel_time(clock) + ahead());

    return between < 0 ? -between : between;
}

static clockid_t nearer_clock(const struct timespec *when)
{
    int64_t time = from_spec(when);

    return distance(CLOCK_MONOTONIC, time) < distance(CLOCK_REALTIME, time)
               ? CLOCK_MONOTONIC
               : CLOCK_REALTIME;
}

/* As fault_clock_spec(), for a point in time. */
static const struct timespec *point_of(clockid_t clock,
                                       const struct timespec *when,
                                       struct timespec *copy)
{
    if (when == NULL || !runs_fast(clock) ||
        !is_usual(when->tv_sec, when->tv_nsec, SECOND)) {
        return when;
    }
    *copy = point(clock, when);
    return copy;
}

static const struct timespec *point_near(const struct timespec *when,
                                         struct timespec *copy)
{
    return when != NULL ? point_of(nearer_clock(when), when, copy) : NULL;
}

/* ---- Sleeping ---- */

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *length,
                    struct timespec *left)
{
    struct timespec copy;
    int result;

    if (!runs_fast(clock)) {
        return real()->clock_nanosleep(clock, flags, length, left);
    }
    if ((flags & TIMER_ABSTIME) != 0) {
        return real()->clock_nanosleep(clock, flags,
                                       point_of(clock, length, &copy), left);
    }
    result = real()->clock_nanosleep(clock, flags,
                                     fault_clock_spec(length, &copy), left);
    if (result == EINTR && left != NULL) {
        fault_clock_spec_back(left);
    }
    return result;
}

int nanosleep(const struct timespec *length, struct timespec *left)
{
    struct timespec copy;
    int result = real()->nanosleep(fault_clock_spec(length, &copy), left);

    if (result == -1 && errno == EINTR && left != NULL) {
        fault_clock_spec_back(left);
    }
    return result;
}

unsigned sleep(unsigned seconds)
{
    struct timespec length = {seconds, 0};
    struct timespec left = {0, 0};

    if (nanosleep(&length, &left) == 0) {
        return 0;
    }
    return (unsigned)(left.tv_sec + (left.tv_nsec >= SECOND / 2));
}

int usleep(useconds_t microseconds)
{
    struct timespec length = {microseconds / 1000000,
                              microseconds % 1000000 * 1000};

    return nanosleep(&length, NULL);
}

/* ---- Timers ---- */

int setitimer(int which, const struct itimerval *restrict new,
              struct itimerval *restrict old)
{
    struct itimerval copy;
    int result;

    if (factor == 1 || which != ITIMER_REAL || new == NULL) {
        return real()->setitimer(which, new, old);
    }
    fault_clock_val(&new->it_value, &copy.it_value);
    fault_clock_val(&new->it_interval, &copy.it_interval);
    result = real()->setitimer(which, &copy, old);
    if (result == 0 && old != NULL) {
        fault_clock_val_back(&old->it_value);
        fault_clock_val_back(&old->it_interval);
    }
    return result;
}

int getitimer(int which, struct itimerval *now)
{
    int result = real()->getitimer(which, now);

    if (result == 0 && which == ITIMER_REAL) {
        fault_clock_val_back(&now->it_value);
        fault_clock_val_back(&now->it_interval);
    }
    return result;
}

unsigned alarm(unsigned seconds)
{
    struct itimerval new = {{0, 0}, {seconds, 0}};
    struct itimerval old = {{0, 0}, {0, 0}};

    setitimer(ITIMER_REAL, &new, &old); /* It fails for no such values. */
    if (old.it_value.tv_usec >= 500000 || old.it_value.tv_sec == 0) {
        old.it_value.tv_sec += old.it_value.tv_usec > 0;
    }
    return (unsigned)old.it_value.tv_sec;
}

/* The times of a timer as the kernel shall have them. */
static const struct itimerspec *timer_times(const struct itimerspec *new,
                                            int absolute,
                                            struct itimerspec *copy)
{
    struct timespec room;

    if (factor == 1 || new == NULL) {
        return new;
    }
    copy->it_interval = *fault_clock_spec(&new->it_interval, &room);
    /* 0 disarms the timer, whatever kind of time it is. */
    if (absolute && from_spec(&new->it_value) != 0) {
        copy->it_value = *point_near(&new->it_value, &room);
    } else {
        copy->it_value = *fault_clock_spec(&new->it_value, &room);
    }
    return copy;
}

static void timer_times_back(struct itimerspec *old)
{
    if (old != NULL) {
        fault_clock_spec_back(&old->it_value);
        fault_clock_spec_back(&old->it_interval);
    }
}

int timer_settime(timer_t timer, int flags,
                  const struct itimerspec *restrict new,
                  struct itimerspec *restrict old)
{
    struct itimerspec copy;
    int result = real()->timer_settime(
        timer, flags, timer_times(new, (flags & TIMER_ABSTIME) != 0, &copy),
        old);

    if (result == 0) {
        timer_times_back(old);
    }
    return result;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new,
                    struct itimerspec *old)
{
    struct itimerspec copy;
    int result = real()->timerfd_settime(
        fd, flags, timer_times(new, (flags & TFD_TIMER_ABSTIME) != 0, &copy),
        old);

    if (result == 0) {
        timer_times_back(old);
    }
    return result;
}

/* ---- Waiting for signals and threads ---- */

int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info,
                 const struct timespec *restrict limit)
{
    struct timespec copy;

    return real()->sigtimedwait(set, info, fault_clock_spec(limit, &copy));
}

int sem_timedwait(sem_t *restrict semaphore,
                  const struct timespec *restrict when)
{
    struct timespec copy;

    return real()->sem_timedwait(semaphore,
                                 point_of(CLOCK_REALTIME, when, &copy));
}

int sem_clockwait(sem_t *semaphore, clockid_t clock,
                  const struct timespec *when);

int sem_clockwait(sem_t *semaphore, clockid_t clock,
                  const struct timespec *when)
{
    struct timespec copy;

    return real()->sem_clockwait(semaphore, clock,
                                 point_of(clock, when, &copy));
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition,
                           pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict when)
{
    struct timespec copy;

    return real()->pthread_cond_timedwait(condition, mutex,
                                          point_near(when, &copy));
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           clockid_t clock, const struct timespec *when);

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           clockid_t clock, const struct timespec *when)
{
    struct timespec copy;

    return real()->pthread_cond_clockwait(condition, mutex, clock,
                                          point_of(clock, when, &copy));
}
