/* fault_real.c - see fault_real.h. */
#define _GNU_SOURCE /* RTLD_NEXT */

#include "fault_real.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

struct fault_real fault_real;

#define SLOT(name)                                                             \
    {                                                                          \
#name, &fault_real.name                                                \
    }
#define CHECKED(name)                                                          \
    {                                                                          \
        "__" #name, &fault_real.name                                           \
    }

/* The allocator first: dlsym(3) itself could need it. */
static const struct {
    const char *name;
    void *slot;
} functions[] = {
    SLOT(malloc),
    SLOT(calloc),
    SLOT(realloc),
    SLOT(free),
    SLOT(socket),
    SLOT(bind),
    SLOT(listen),
    SLOT(accept),
    SLOT(accept4),
    SLOT(connect),
    SLOT(shutdown),
    SLOT(setsockopt),
    SLOT(getsockopt),
    SLOT(recv),
    SLOT(recvfrom),
    SLOT(recvmsg),
    SLOT(read),
    SLOT(readv),
    CHECKED(recv_chk),
    SLOT(send),
    CHECKED(recvfrom_chk),
    CHECKED(read_chk),
    SLOT(sendto),
    SLOT(sendmsg),
    SLOT(write),
    SLOT(writev),
    SLOT(poll),
    CHECKED(poll_chk),
    SLOT(ppoll),
    CHECKED(ppoll_chk),
    SLOT(select),
    SLOT(pselect),
    SLOT(epoll_wait),
    SLOT(epoll_pwait),
    SLOT(close),
    SLOT(epoll_pwait2),
    SLOT(close_range),
    SLOT(closefrom),
    SLOT(dup2),
    SLOT(dup3),
    SLOT(fork),
    SLOT(pthread_create),
    SLOT(aligned_alloc),
    SLOT(posix_memalign),
    SLOT(recvmmsg),
    SLOT(sendmmsg),
    SLOT(clock_gettime),
    SLOT(nanosleep),
    SLOT(clock_nanosleep),
    SLOT(getitimer),
    SLOT(setitimer),
    SLOT(timer_settime),
    SLOT(timerfd_settime),
    SLOT(sigtimedwait),
    SLOT(sem_timedwait),
    SLOT(sem_clockwait),
    SLOT(pthread_cond_timedwait),
    SLOT(pthread_cond_clockwait),
    SLOT(sendfile),
    SLOT(splice),
    SLOT(fsync),
    SLOT(fdatasync),
    SLOT(rename),
    SLOT(renameat),
    SLOT(renameat2),
};

/* What only some C libraries have: musl knows neither _FORTIFY_SOURCE nor
 * closefrom(3). A program can't call what its library does not have. */
static bool may_be_missing(const char *name)
{
    static const char *const names[] = {
        "close_range", "closefrom",     "epoll_pwait2",
        "renameat2",   "sem_clockwait", "pthread_cond_clockwait"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return strncmp(name, "__", 2) == 0;
}

const char *fault_real_load(void)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        void *symbol = dlsym(RTLD_NEXT, functions[i].name);

        if (symbol == NULL && !may_be_missing(functions[i].name)) {
            return functions[i].name;
        }
        /* ISO C has no conversion from void * to a function's address. */
        memcpy(functions[i].slot, &symbol, sizeof(symbol));
    }
    return NULL;
}
