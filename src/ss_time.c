/* ss_time.c - see ss_time.h. */
#define _POSIX_C_SOURCE 200809L

#include "ss_time.h"

#include <limits.h>

enum { MS_PER_S = 1000, NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

static struct timespec now(void)
{
    struct timespec time = {0, 0};

    /* It fails for a wrong clock or a wrong pointer only. */
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time;
}

void ss_deadline_set(struct ss_deadline *deadline, int timeout_ms)
{
    deadline->at = now();
    if (timeout_ms > 0) {
        deadline->at.tv_sec += timeout_ms / MS_PER_S;
        deadline->at.tv_nsec += (long)(timeout_ms % MS_PER_S) * NS_PER_MS;
    }
    if (deadline->at.tv_nsec >= NS_PER_S) {
        deadline->at.tv_nsec -= NS_PER_S;
        deadline->at.tv_sec++;
    }
}

int ss_deadline_left_ms(const struct ss_deadline *deadline)
{
    struct timespec time;
    long long left_ns;
    long long left_s;

    if (deadline == NULL) {
        return -1;
    }
    time = now();
    left_s = (long long)deadline->at.tv_sec - time.tv_sec;
    if (left_s > INT_MAX / MS_PER_S) {
        return INT_MAX;
    }
    left_ns = left_s * NS_PER_S + deadline->at.tv_nsec - time.tv_nsec;
    if (left_ns <= 0) {
        return 0;
    }
    return (int)((left_ns + NS_PER_MS - 1) / NS_PER_MS);
}
