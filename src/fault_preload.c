/* fault_preload.c - makes the calls of an unmodified program go wrong.
 *
 * Run: LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_CALLS=calls.log \
 *      SOCKSTEP_FAULTS='send@*=short:1;accept@2=EMFILE' PROGRAM
 *
 * SOCKSTEP_FAULTS  the plan (fault_plan.h). Without it, calls are only logged.
 *                  A plan that cannot be read ends the process with status
 *                  125 and a message: it is never left out in silence.
 * SOCKSTEP_CALLS   the file to which the log is appended. Without it there is
 *                  no log. A log that fails ends the process with 125 too.
 * SOCKSTEP_PROGRAM the real path of an executable, without links. Where it is
 *                  set, other executables run untouched and unlogged: the
 *                  shell that starts the program (valgrind is such a script),
 *                  or what the program starts.
 *
 * Classes and the functions in them:
 *   socket    socket                    shutdown  shutdown
 *   bind      bind                      sockopt   setsockopt getsockopt
 *   listen    listen                    close     close, of sockets only
 *   accept    accept accept4            thread    pthread_create
 *   connect   connect                   fork      fork vfork
 *   recv      recv recvfrom recvmsg recvmmsg, and read readv splice from
 *             sockets
 *   send      send sendto sendmsg sendmmsg, and write writev sendfile splice to
 *             sockets
 *   read      read readv of all that is no socket, standard input included
 *   write     write writev sendfile splice to all that is no socket
 *   sync      fsync fdatasync     rename    rename renameat renameat2
 *   closefile close, of regular files that are open for writing
 *   wait      poll ppoll select pselect epoll_wait epoll_pwait epoll_pwait2
 *   malloc    malloc calloc realloc aligned_alloc posix_memalign
 * The names that _FORTIFY_SOURCE puts in their place are in the same classes.
 *
 * Lines of the log, by their third word:
 *   PID TID reached - EXE       the preload works in this process. It comes
 *                               first, and once more after each exec.
 *   PID TID forked - parent=N   a child of fork; it counts on from where its
 *                               parent was, apart from it.
 *   PID TID CLASS N FUNCTION(ARGUMENTS) = RESULT [ERRNO] [injected: ACTIONS]
 *                               call N of its class, once it is over; the
 *                               name of an errno only after a failure, the
 *                               last part (in brackets) only where the plan
 *                               changed something
 *   PID TID close - close(fd=N) = -1 EBADF
 *                               a close of what is not open; not counted
 *   PID TID inject - CLASS N signal:NAME
 *                               written before a signal is sent, since the
 *                               signal may end the process
 * Calls of malloc are always counted, but logged only where the plan has an
 * item for them (`malloc@18000000000000000000=ENOMEM` injects nothing and
 * logs them all). A call that never comes back is not in the log.
 *
 * Like the kernel, an injected EPIPE of send or write comes with a SIGPIPE to
 * the thread, unless MSG_NOSIGNAL is given. EINTR from connect without `late:`
 * leaves no connection under way, which is not what the kernel does.
 * `late:` of accept closes the accepted connection. `short:` leaves datagrams
 * whole, because the kernel never sends a part of one, but recvmmsg and
 * sendmmsg pass that many of them at most; of a vector it passes 16 buffers at
 * most. `signal:` reaches the calling thread; a signal that
 * another thread waits for, as signalfd(2) does, needs `kill:`.
 *
 * What it cannot see: the calls that the C library makes inside itself (stdio,
 * getaddrinfo, posix_spawn), system calls without the library, and static
 * programs, whose log has no `reached` line. Under Valgrind the malloc class
 * is blind, for Valgrind puts its own allocator in place. Under
 * AddressSanitizer it is blind too, and gcc's shared libasan must come first:
 * LD_PRELOAD="$(gcc -print-file-name=libasan.so) .../fault_preload.so".
 * vfork is a plain fork here: a hook in C cannot return twice on one stack.
 * The log's descriptor shows in /proc/PID/fd (see fault_log.h), and the
 * program has one less; it survives the program's own close, dup2, close_range
 * and closefrom. A limit on file sizes (RLIMIT_FSIZE) binds the log as well.
 *
 * To add a function: its pointer in fault_real.h, its name in fault_real.c,
 * and a hook here. To add a class: fault_plan.h, and the table in
 * fault_plan.c. This file is longer than the library's limit because it is
 * a list: one short hook a function.
 */
#define _DEFAULT_SOURCE /* syscall(2); not _GNU_SOURCE, whose prototypes of */
#undef _FORTIFY_SOURCE  /* socket calls differ, nor its inline functions */

#include "fault_clock.h"
#include "fault_log.h"
#include "fault_plan.h"
#include "fault_real.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

enum { FRESH, BUSY, READY };

static atomic_int state = FRESH;
static bool malloc_planned;
static struct fault_plan plan;
static struct fault_counters counters;

/* ---- The start ---- */

static void read_plan(void)
{
    const char *text = getenv("SOCKSTEP_FAULTS");
    struct fault_plan_error error;
    struct fault_line where;

    if (text == NULL) {
        return;
    }
    if (fault_plan_parse(&plan, text, &error) == -1) {
        where.length = 0;
        where.limit = sizeof(where.text) - 1;
        fault_line_text(&where, "SOCKSTEP_FAULTS: byte ");
        fault_line_unsigned(&where, error.offset + 1);
        fault_line_text(&where, ": ");
        fault_line_text(&where, error.why);
        where.text[where.length] = '\0';
        fault_die(where.text, text + error.offset);
    }
    for (size_t i = 0; i < plan.count; i++) {
        malloc_planned |= plan.items[i].class == FAULT_MALLOC;
        if (plan.items[i].class == FAULT_CLOCK) {
            fault_clock_start(plan.items[i].factor);
        }
    }
}

static void log_reached(const char *path, size_t length)
{
    struct fault_line line;

    fault_line_start(&line);
    fault_line_text(&line, "reached - ");
    fault_line_bytes(&line, path, length);
    fault_line_write(&line);
}

/* Reads the plan and opens the log, if this is the program that is meant. */
static void prepare(void)
{
    const char *only = getenv("SOCKSTEP_PROGRAM");
    const char *log = getenv("SOCKSTEP_CALLS");
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path));

    if (length == -1) {
        fault_die("/proc/self/exe", "cannot be read");
    }
    if (only != NULL && (strlen(only) != (size_t)length ||
                         memcmp(only, path, (size_t)length) != 0)) {
        return;
    }
    read_plan();
    if (log != NULL) {
        fault_log_open(log);
        log_reached(path, (size_t)length);
    }
}

/* Prepares everything at the first call, which may come from a constructor
 * that runs before ours.
 * Result: false if the call shall be left alone, because this is not done.
 */
static bool ready(void)
{
    int fresh = FRESH;
    int saved = errno;
    const char *missing;

    if (atomic_load_explicit(&state, memory_order_acquire) == READY) {
        return true;
    }
    if (!atomic_compare_exchange_strong(&state, &fresh, BUSY)) {
        return false; /* a call of our own preparation, such as dlsym(3)'s */
    }
    missing = fault_real_load();
    if (missing != NULL) {
        fault_die("the C library has no function", missing);
    }
    if (environ == NULL) { /* the C library is not that far yet */
        atomic_store(&state, FRESH);
        return false;
    }
    prepare();
    atomic_store_explicit(&state, READY, memory_order_release);
    errno = saved;
    return true;
}

__attribute__((constructor)) static void start(void)
{
    ready();
}

/* ---- One call ---- */

struct call {
    enum fault_class class;
    uint64_t number;
    const struct fault_item *item; /* what the plan wants, or NULL */
    unsigned done;                 /* those of its actions that took effect */
    int saved;                     /* errno as the program left it */
    bool logged;
    bool no_sigpipe;
    struct fault_line line;
};

/* Counts a call and starts its line.
 * Result: false if the hook must just pass the call on.
 */
static bool begin(struct call *call, enum fault_class class,
                  const char *function)
{
    if (!ready()) {
        return false;
    }
    call->saved = errno;
    call->class = class;
    call->number = fault_counters_next(&counters, class);
    call->item = fault_plan_find(&plan, class, call->number);
    call->done = 0;
    call->no_sigpipe = false;
    call->logged = fault_log_descriptor() != -1 &&
                   (class != FAULT_MALLOC || malloc_planned);
    if (call->logged) {
        fault_line_start(&call->line);
        fault_line_text(&call->line, fault_class_name(class));
        fault_line_text(&call->line, " ");
        fault_line_unsigned(&call->line, call->number);
        fault_line_text(&call->line, " ");
        fault_line_text(&call->line, function);
        fault_line_text(&call->line, "(");
    }
    return true;
}

static void separate(struct call *call)
{
    if (call->line.text[call->line.length - 1] != '(') {
        fault_line_text(&call->line, " ");
    }
}

static void argument(struct call *call, const char *name, int64_t value)
{
    if (call->logged) {
        separate(call);
        fault_line_text(&call->line, name);
        fault_line_text(&call->line, "=");
        fault_line_number(&call->line, value);
    }
}

static void argument_size(struct call *call, const char *name, size_t value)
{
    if (call->logged) {
        separate(call);
        fault_line_text(&call->line, name);
        fault_line_text(&call->line, "=");
        fault_line_unsigned(&call->line, value);
    }
}

static void argument_address(struct call *call, const struct sockaddr *address,
                             socklen_t length)
{
    if (call->logged) {
        separate(call);
        fault_line_address(&call->line, address, length);
    }
}

/* A number that has a name, such as AF_INET; 0 ends the table. */
struct constant {
    const char *name;
    int number;
};

static void argument_constant(struct call *call, const char *name,
                              const struct constant *table, int number)
{
    if (!call->logged) {
        return;
    }
    for (; table->name != NULL; table++) {
        if (table->number == number) {
            separate(call);
            fault_line_text(&call->line, table->name);
            return;
        }
    }
    argument(call, name, number);
}

static void log_signal(const struct call *call, unsigned action)
{
    struct fault_line line;
    char text[40];

    fault_line_start(&line);
    fault_line_text(&line, "inject - ");
    fault_line_text(&line, fault_class_name(call->class));
    fault_line_text(&line, " ");
    fault_line_unsigned(&line, call->number);
    fault_line_text(&line, " ");
    if (action != 0) {
        fault_item_print(call->item, action, text, sizeof(text));
        fault_line_text(&line, text);
    } else {
        fault_line_text(&line, "signal:SIGPIPE");
    }
    fault_line_write(&line);
}

/* action: of the item that sends the signal, 0 for the SIGPIPE of an EPIPE. */
static void send_signal(struct call *call, unsigned action, int number)
{
    if (fault_log_descriptor() != -1) {
        log_signal(call, action);
    }
    call->done |= action;
    if (action == FAULT_KILL) {
        syscall(SYS_kill, getpid(), number);
    } else {
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
    }
}

/* Does what comes before the call.
 * Result: true if the call is to be made, false if it fails or ends instead.
 */
static bool go(struct call *call)
{
    const struct fault_item *item = call->item;

    if (item != NULL) {
        unsigned signals = item->actions & (FAULT_SIGNAL | FAULT_KILL);

        if (signals != 0) {
            send_signal(call, signals, item->signal_number);
        }
        call->done |= item->actions & (FAULT_FAIL | FAULT_END);
        if ((item->actions & FAULT_FAIL) != 0 && item->error == EPIPE &&
            (call->class == FAULT_SEND || call->class == FAULT_WRITE) &&
            !call->no_sigpipe) {
            send_signal(call, 0, SIGPIPE);
        }
    }
    errno = call->saved;
    return (call->done & (FAULT_FAIL | FAULT_END)) == 0;
}

/* Whether the call is to be made and then said to have failed. */
static bool is_late(const struct call *call)
{
    return call->item != NULL && (call->item->actions & FAULT_LATE) != 0;
}

/* Ends the line and writes it. `error`: 0 for none. */
static void end_line(struct call *call, int error)
{
    const char *name = fault_errno_name(error);
    char text[80];

    if (error != 0) {
        fault_line_text(&call->line, " ");
        if (name != NULL) {
            fault_line_text(&call->line, name);
        } else {
            fault_line_text(&call->line, "errno:");
            fault_line_number(&call->line, error);
        }
    }
    if (call->done != 0) {
        fault_item_print(call->item, call->done, text, sizeof(text));
        fault_line_text(&call->line, " [injected: ");
        fault_line_text(&call->line, text);
        fault_line_text(&call->line, "]");
    }
    fault_line_write(&call->line);
}

static void begin_result(struct call *call)
{
    fault_line_widen(&call->line);
    fault_line_text(&call->line, ") = ");
}

/* Ends a call that fails by -1 and errno. Result: what the program gets. */
static long finish(struct call *call, long result)
{
    if ((call->done & FAULT_FAIL) != 0) {
        result = -1;
        errno = call->item->error;
    } else if ((call->done & FAULT_END) != 0) {
        result = 0;
    } else if (is_late(call)) {
        call->done |= FAULT_LATE;
        result = -1;
        errno = call->item->error;
    }
    if (call->logged) {
        begin_result(call);
        fault_line_number(&call->line, result);
        end_line(call, result == -1 ? errno : 0);
    }
    return result;
}

/* Ends a call that returns its error's number and leaves errno alone. */
static int finish_number(struct call *call, int result)
{
    if ((call->done & FAULT_FAIL) != 0) {
        result = call->item->error;
    }
    if (call->logged) {
        begin_result(call);
        fault_line_number(&call->line, result);
        end_line(call, result);
    }
    return result;
}

/* Ends a call that fails by NULL and errno. */
static void *finish_pointer(struct call *call, void *result)
{
    if ((call->done & FAULT_FAIL) != 0) {
        errno = call->item->error;
    }
    if (call->logged) {
        begin_result(call);
        if (result == NULL) {
            fault_line_text(&call->line, "NULL");
            end_line(call, errno);
        } else {
            fault_line_text(&call->line, "0x");
            fault_line_hex(&call->line, (uint64_t)(uintptr_t)result);
            end_line(call, 0);
        }
    }
    return result;
}

/* ---- What kind of descriptor ---- */

static bool is_socket(int fd)
{
    struct stat status;
    int saved = errno;
    bool result = fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);

    errno = saved;
    return result;
}

/* Whether a descriptor is open for writing. */
static bool is_written(int fd)
{
    int saved = errno;
    int flags = fcntl(fd, F_GETFL);

    errno = saved;
    return flags != -1 && (flags & O_ACCMODE) != O_RDONLY;
}

static bool is_stream(int fd)
{
    int type = SOCK_STREAM;
    socklen_t size = sizeof(type);
    int saved = errno;
    bool result =
        fault_real.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == -1 ||
        type == SOCK_STREAM; /* no socket at all: a pipe, a terminal, a file */

    errno = saved;
    return result;
}

/* Whether the plan wants fewer bytes than the program asked for. */
static bool is_short(const struct call *call, int fd, size_t length)
{
    return call->item != NULL && (call->item->actions & FAULT_SHORT) != 0 &&
           call->item->short_bytes < length && is_stream(fd);
}

/* The length that the plan leaves of the one asked for. */
static size_t cut(struct call *call, int fd, size_t length)
{
    if (!is_short(call, fd, length)) {
        return length;
    }
    call->done |= FAULT_SHORT;
    return call->item->short_bytes;
}

/* ---- Vectors ---- */

enum { VECTOR_MAX = 16, VECTOR_LIMIT = 1024 /* IOV_MAX of Linux */ };

static size_t vector_bytes(const struct iovec *vector, size_t count)
{
    size_t bytes = 0;

    if (vector == NULL || count > VECTOR_LIMIT) {
        return 0; /* the kernel will refuse it */
    }
    for (size_t i = 0; i < count; i++) {
        bytes += vector[i].iov_len;
    }
    return bytes;
}

/* Cuts a vector as the plan wants it.
 * Result: the number of buffers, which are then in `copy`, or 0: no change.
 */
static size_t cut_vector(struct call *call, int fd, const struct iovec *vector,
                         size_t count, struct iovec *copy)
{
    size_t used = 0;
    size_t left;

    if (!is_short(call, fd, vector_bytes(vector, count))) {
        return 0;
    }
    call->done |= FAULT_SHORT;
    left = call->item->short_bytes;
    while (left > 0 && used < count && used < VECTOR_MAX) {
        copy[used] = vector[used];
        if (copy[used].iov_len > left) {
            copy[used].iov_len = left;
        }
        left -= copy[used].iov_len;
        used++;
    }
    return used;
}

/* ---- Sockets ---- */

static const struct constant families[] = {{"AF_UNIX", AF_UNIX},
                                           {"AF_INET", AF_INET},
                                           {"AF_INET6", AF_INET6},
                                           {NULL, 0}};

static const struct constant types[] = {{"SOCK_STREAM", SOCK_STREAM},
                                        {"SOCK_DGRAM", SOCK_DGRAM},
                                        {"SOCK_SEQPACKET", SOCK_SEQPACKET},
                                        {NULL, 0}};

int socket(int family, int type, int protocol)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_SOCKET, "socket")) {
        return fault_real.socket(family, type, protocol);
    }
    argument_constant(&call, "family", families, family);
    argument_constant(&call, "type", types,
                      type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC));
    argument(&call, "nonblock", (type & SOCK_NONBLOCK) != 0);
    argument(&call, "cloexec", (type & SOCK_CLOEXEC) != 0);
    argument(&call, "protocol", protocol);
    if (go(&call)) {
        result = fault_real.socket(family, type, protocol);
    }
    return (int)finish(&call, result);
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_BIND, "bind")) {
        return fault_real.bind(fd, address, length);
    }
    argument(&call, "fd", fd);
    argument_address(&call, address, length);
    if (go(&call)) {
        result = fault_real.bind(fd, address, length);
    }
    return (int)finish(&call, result);
}

int listen(int fd, int backlog)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_LISTEN, "listen")) {
        return fault_real.listen(fd, backlog);
    }
    argument(&call, "fd", fd);
    argument(&call, "backlog", backlog);
    if (go(&call)) {
        result = fault_real.listen(fd, backlog);
    }
    return (int)finish(&call, result);
}

/* A late failure must not leave a connection that nobody knows of. */
static void drop_accepted(const struct call *call, int fd)
{
    if (is_late(call) && fd != -1) {
        syscall(SYS_close, fd);
    }
}

int accept(int fd, struct sockaddr *address, socklen_t *length)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_ACCEPT, "accept")) {
        return fault_real.accept(fd, address, length);
    }
    argument(&call, "fd", fd);
    if (go(&call)) {
        result = fault_real.accept(fd, address, length);
        drop_accepted(&call, result);
    }
    return (int)finish(&call, result);
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_ACCEPT, "accept4")) {
        return fault_real.accept4(fd, address, length, flags);
    }
    argument(&call, "fd", fd);
    argument(&call, "flags", flags);
    if (go(&call)) {
        result = fault_real.accept4(fd, address, length, flags);
        drop_accepted(&call, result);
    }
    return (int)finish(&call, result);
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_CONNECT, "connect")) {
        return fault_real.connect(fd, address, length);
    }
    argument(&call, "fd", fd);
    argument_address(&call, address, length);
    if (go(&call)) {
        result = fault_real.connect(fd, address, length);
    }
    return (int)finish(&call, result);
}

static const struct constant directions[] = {{"SHUT_RD", SHUT_RD},
                                             {"SHUT_WR", SHUT_WR},
                                             {"SHUT_RDWR", SHUT_RDWR},
                                             {NULL, 0}};

int shutdown(int fd, int how)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_SHUTDOWN, "shutdown")) {
        return fault_real.shutdown(fd, how);
    }
    argument(&call, "fd", fd);
    argument_constant(&call, "how", directions, how);
    if (go(&call)) {
        result = fault_real.shutdown(fd, how);
    }
    return (int)finish(&call, result);
}

/* ---- Options ---- */

#define CONSTANT(name)                                                         \
    {                                                                          \
#name, name                                                            \
    }

static const struct constant levels[] = {CONSTANT(SOL_SOCKET),
                                         CONSTANT(IPPROTO_IP),
                                         CONSTANT(IPPROTO_TCP),
                                         CONSTANT(IPPROTO_IPV6),
                                         {NULL, 0}};
static const struct constant socket_options[] = {CONSTANT(SO_REUSEADDR),
                                                 CONSTANT(SO_REUSEPORT),
                                                 CONSTANT(SO_LINGER),
                                                 CONSTANT(SO_RCVTIMEO),
                                                 CONSTANT(SO_SNDTIMEO),
                                                 CONSTANT(SO_ERROR),
                                                 CONSTANT(SO_RCVBUF),
                                                 CONSTANT(SO_SNDBUF),
                                                 CONSTANT(SO_KEEPALIVE),
                                                 CONSTANT(SO_BROADCAST),
                                                 CONSTANT(SO_TYPE),
                                                 CONSTANT(SO_PEERCRED),
                                                 {NULL, 0}};
static const struct constant tcp_options[] = {
    CONSTANT(TCP_NODELAY), CONSTANT(TCP_USER_TIMEOUT), {NULL, 0}};
static const struct constant ipv6_options[] = {CONSTANT(IPV6_V6ONLY),
                                               {NULL, 0}};
static const struct constant no_options[] = {{NULL, 0}};

static void argument_option(struct call *call, int level, int name)
{
    const struct constant *options = no_options;

    if (level == SOL_SOCKET) {
        options = socket_options;
    } else if (level == IPPROTO_TCP) {
        options = tcp_options;
    } else if (level == IPPROTO_IPV6) {
        options = ipv6_options;
    }
    argument_constant(call, "level", levels, level);
    argument_constant(call, "option", options, name);
}

/* A time limit of a socket, as the kernel shall have it. `copy`: its room. */
static const void *socket_limit(int level, int name, const void *value,
                                socklen_t size, struct timeval *copy)
{
    struct timeval limit;

    if (level != SOL_SOCKET || (name != SO_RCVTIMEO && name != SO_SNDTIMEO) ||
        value == NULL || size < sizeof(limit)) {
        return value;
    }
    memcpy(&limit, value, sizeof(limit));
    return fault_clock_val(&limit, copy);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    struct timeval limit;
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_SOCKOPT, "setsockopt")) {
        return fault_real.setsockopt(fd, level, name, value, size);
    }
    argument(&call, "fd", fd);
    argument_option(&call, level, name);
    if (value != NULL && size == sizeof(int)) {
        int number;

        memcpy(&number, value, sizeof(number));
        argument(&call, "value", number);
    }
    if (go(&call)) {
        value = socket_limit(level, name, value, size, &limit);
        result = fault_real.setsockopt(fd, level, name, value, size);
    }
    return (int)finish(&call, result);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_SOCKOPT, "getsockopt")) {
        return fault_real.getsockopt(fd, level, name, value, size);
    }
    argument(&call, "fd", fd);
    argument_option(&call, level, name);
    if (go(&call)) {
        result = fault_real.getsockopt(fd, level, name, value, size);
    }
    return (int)finish(&call, result);
}

/* ---- Receiving and reading ---- */

static bool begin_read(struct call *call, int fd, const char *function)
{
    return begin(call, is_socket(fd) ? FAULT_RECV : FAULT_READ, function);
}

ssize_t recv(int fd, void *buffer, size_t length, int flags)
{
    struct call call;
    ssize_t result = -1;

    if (!begin(&call, FAULT_RECV, "recv")) {
        return fault_real.recv(fd, buffer, length, flags);
    }
    argument(&call, "fd", fd);
    argument_size(&call, "len", length);
    argument(&call, "flags", flags);
    if (go(&call)) {
        length = cut(&call, fd, length);
        result = fault_real.recv(fd, buffer, length, flags);
    }
    return finish(&call, result);
}

ssize_t recvfrom(int fd, void *buffer, size_t length, int flags,
                 struct sockaddr *address, socklen_t *size)
{
    struct call call;
    ssize_t result = -1;

    if (!begin(&call, FAULT_RECV, "recvfrom")) {
        return fault_real.recvfrom(fd, buffer, length, flags, address, size);
    }
    argument(&call, "fd", fd);
    argument_size(&call, "len", length);
    argument(&call, "flags", flags);
    if (go(&call)) {
        length = cut(&call, fd, length);
        result = fault_real.recvfrom(fd, buffer, length, flags, address, size);
    } else if ((call.done & FAULT_END) != 0 && size != NULL) {
        *size = 0;
    }
    return finish(&call, result);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    struct call call;
    struct iovec vector[VECTOR_MAX];
    struct iovec *whole = message->msg_iov;
    size_t whole_count = message->msg_iovlen;
    size_t used;
    ssize_t result = -1;

    if (!begin(&call, FAULT_RECV, "recvmsg")) {
        return fault_real.recvmsg(fd, message, flags);
    }
    argument(&call, "fd", fd);
    argument_size(&call, "len", vector_bytes(whole, whole_count));
    argument(&call, "flags", flags);
    if (go(&call)) {
        used = cut_vector(&call, fd, whole, whole_count, vector);
        if (used > 0) {
            message->msg_iov = vector;
            message->msg_iovlen = used;
        }
        result = fault_real.recvmsg(fd, message, flags);
        message->msg_iov = whole;
        message->msg_iovlen = whole_count;
    } else if ((call.done & FAULT_END) != 0) {
        message->msg_namelen = 0;
        message->msg_controllen = 0;
        message->msg_flags = 0;
    }
    return finish(&call, result);
}

ssize_t read(int fd, void *buffer, size_t length)
{
    struct call call;
    ssize_t result = -1;

    if (!begin_read(&call, fd, "read")) {
        return fault_real.read(fd, buffer, length);
    }
    argument(&call, "fd", fd);
    argument_size(&call, "len", length);
    if (go(&call)) {
        length = cut(&call, fd, length);
        result = fault_real.read(fd, buffer, length);
    }
    return finish(&call, result);
}

ssize_t readv(int fd, const struct iovec *vector, int count)
{
    struct call call;
    struct iovec copy[VECTOR_MAX];
    size_t used;
    ssize_t result = -1;

    if (!begin_read(&call, fd, "readv")) {
        return fault_real.readv(fd, vector, count);
    }
    argument(&call, "fd", fd);
    argument_size(&call, "len", vector_bytes(vector, (size_t)count));
    if (go(&call)) {
        used = cut_vector(&call, fd, vector, (size_t)count, copy);
        result = used > 0 ? fault_real.readv(fd, copy, (int)used)
                          : fault_real.readv(fd, vector, count);
    }
    return finish(&call, result);
}

/* The fortified calls know the buffer's size, and end the program if the
 * length is larger: that is left to them.
 */
ssize_t __recv_chk(int fd, void *buffer, size_t length, size_t size, int flags);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t length, size_t size,
                       int flags, struct sockaddr *address,
                       socklen_t *address_size);
ssize_t __read_chk(int fd, void *buffer, size_t length, size_t size);

ssize_t __recv_chk(int fd, void *buffer, size_t length, size_t size, int flags)
{
    if (length > size) {
        return fault_real.recv_chk(fd, buffer, length, size, flags);
    }
    return recv(fd, buffer, length, flags);
}

ssize_t __recvfrom_chk(int fd, void *buffer, size_t length, size_t size,
                       int flags, struct sockaddr *address,
                       socklen_t *address_size)
{
    if (length > size) {
        return fault_real.recvfrom_chk(fd, buffer, length, size, flags, address,
                                       address_size);
    }
    return recvfrom(fd, buffer, length, flags, address, address_size);
}

ssize_t __read_chk(int fd, void *buffer, size_t length, size_t size)
{
    if (length > size) {
        return fault_real.read_chk(fd, buffer, length, size);
    }
    return read(fd, buffer, length);
}

/* ---- Sending and writing ---- */

static bool begin_write(struct call *call, int fd, const char *function)
{
    return begin(call, is_socket(fd) ? FAULT_SEND : FAULT_WRITE, function);
}

ssize_t send(int fd, const void *buffer, size_t length, int flags)
{
    struct call call;
    ssize_t result = -1;

    if (!begin(&call, FAULT_SEND, "send")) {
        return fault_real.send(fd, buffer, length, flags);
    }
    call.no_sigpipe = (flags & MSG_NOSIGNAL) != 0;
    argument(&call, "fd", fd);
    argument_size(&call, "len", length);
    argument(&call, "flags", flags);
    if (go(&call)) {
        length = cut(&call, fd, length);
        result = fault_real.send(fd, buffer, length, flags);
    }
    return finish(&call, result);
}

ssize_t sendto(int fd, const void *buffer, size_t length, int flags,
               const struct sockaddr *address, socklen_t size)
{
    struct call call;
    ssize_t result = -1;

    if (!begin(&call, FAULT_SEND, "sendto")) {
        return fault_real.sendto(fd, buffer, length, flags, address, size);
    }
    call.no_sigpipe = (flags & MSG_NOSIGNAL) != 0;
    argument(&call, "fd", fd);
    argument_size(&call, "len", length);
    argument(&call, "flags", flags);
    argument_address(&call, address, size);
    if (go(&call)) {
        length = cut(&call, fd, length);
        result = fault_real.sendto(fd, buffer, length, flags, address, size);
    }
    return finish(&call, result);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct call call;
    struct iovec vector[VECTOR_MAX];
    struct msghdr copy = *message;
    size_t used;
    ssize_t result = -1;

    if (!begin(&call, FAULT_SEND, "sendmsg")) {
        return fault_real.sendmsg(fd, message, flags);
    }
    call.no_sigpipe = (flags & MSG_NOSIGNAL) != 0;
    argument(&call, "fd", fd);
    argument_size(&call, "len", vector_bytes(copy.msg_iov, copy.msg_iovlen));
    argument(&call, "flags", flags);
    if (go(&call)) {
        used = cut_vector(&call, fd, copy.msg_iov, copy.msg_iovlen, vector);
        if (used > 0) {
            copy.msg_iov = vector;
            copy.msg_iovlen = used;
        }
        result = fault_real.sendmsg(fd, &copy, flags);
    }
    return finish(&call, result);
}

ssize_t write(int fd, const void *buffer, size_t length)
{
    struct call call;
    ssize_t result = -1;

    if (!begin_write(&call, fd, "write")) {
        return fault_real.write(fd, buffer, length);
    }
    argument(&call, "fd", fd);
    argument_size(&call, "len", length);
    if (go(&call)) {
        length = cut(&call, fd, length);
        result = fault_real.write(fd, buffer, length);
    }
    return finish(&call, result);
}

ssize_t writev(int fd, const struct iovec *vector, int count)
{
    struct call call;
    struct iovec copy[VECTOR_MAX];
    size_t used;
    ssize_t result = -1;

    if (!begin_write(&call, fd, "writev")) {
        return fault_real.writev(fd, vector, count);
    }
    argument(&call, "fd", fd);
    argument_size(&call, "len", vector_bytes(vector, (size_t)count));
    if (go(&call)) {
        used = cut_vector(&call, fd, vector, (size_t)count, copy);
        result = used > 0 ? fault_real.writev(fd, copy, (int)used)
                          : fault_real.writev(fd, vector, count);
    }
    return finish(&call, result);
}

/* How many datagrams the plan leaves of those asked for. */
static unsigned cut_count(struct call *call, unsigned count)
{
    if (call->item == NULL || (call->item->actions & FAULT_SHORT) == 0 ||
        call->item->short_bytes >= count) {
        return count;
    }
    call->done |= FAULT_SHORT;
    return (unsigned)call->item->short_bytes;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
             struct timespec *timeout);
int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
             struct timespec *timeout)
{
    struct timespec limit;
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_RECV, "recvmmsg")) {
        return fault_real.recvmmsg(fd, messages, count, flags, timeout);
    }
    argument(&call, "fd", fd);
    argument_size(&call, "count", count);
    argument(&call, "flags", flags);
    if (go(&call)) {
        count = cut_count(&call, count);
        if (timeout != NULL) { /* The kernel leaves the rest of it there. */
            limit = *fault_clock_spec(timeout, timeout);
        }
        result = fault_real.recvmmsg(fd, messages, count, flags,
                                     timeout != NULL ? &limit : NULL);
        if (timeout != NULL) {
            fault_clock_spec_back(&limit);
            *timeout = limit;
        }
    }
    return (int)finish(&call, result);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_SEND, "sendmmsg")) {
        return fault_real.sendmmsg(fd, messages, count, flags);
    }
    call.no_sigpipe = (flags & MSG_NOSIGNAL) != 0;
    argument(&call, "fd", fd);
    argument_size(&call, "count", count);
    argument(&call, "flags", flags);
    if (go(&call)) {
        result =
            fault_real.sendmmsg(fd, messages, cut_count(&call, count), flags);
    }
    return (int)finish(&call, result);
}

/* ---- Data that stay in the kernel ---- */

/* Not from the headers, which need _GNU_SOURCE for some of them. An offset has
 * 64 bits wherever this runs.
 */
ssize_t sendfile(int to, int from, off_t *offset, size_t length);
ssize_t splice(int from, int64_t *from_offset, int to, int64_t *to_offset,
               size_t length, unsigned flags);

ssize_t sendfile(int to, int from, off_t *offset, size_t length)
{
    struct call call;
    ssize_t result = -1;

    if (!begin_write(&call, to, "sendfile")) {
        return fault_real.sendfile(to, from, offset, length);
    }
    argument(&call, "to", to);
    argument_size(&call, "len", length);
    if (go(&call)) {
        length = cut(&call, to, length);
        result = fault_real.sendfile(to, from, offset, length);
    }
    return finish(&call, result);
}

ssize_t splice(int from, int64_t *from_offset, int to, int64_t *to_offset,
               size_t length, unsigned flags)
{
    struct call call;
    ssize_t result = -1;
    bool begun = is_socket(from) ? begin(&call, FAULT_RECV, "splice")
                                 : begin_write(&call, to, "splice");

    if (!begun) {
        return fault_real.splice(from, from_offset, to, to_offset, length,
                                 flags);
    }
    argument(&call, "from", from);
    argument(&call, "to", to);
    argument_size(&call, "len", length);
    if (go(&call)) {
        length = cut(&call, from, length);
        result =
            fault_real.splice(from, from_offset, to, to_offset, length, flags);
    }
    return finish(&call, result);
}

#ifdef __GLIBC__
/* What a program calls that was built with _FILE_OFFSET_BITS=64. */
ssize_t sendfile64(int to, int from, int64_t *offset, size_t length)
    __attribute__((alias("sendfile")));
#endif

/* ---- Files ---- */

int fsync(int fd)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_SYNC, "fsync")) {
        return fault_real.fsync(fd);
    }
    argument(&call, "fd", fd);
    if (go(&call)) {
        result = fault_real.fsync(fd);
    }
    return (int)finish(&call, result);
}

int fdatasync(int fd)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_SYNC, "fdatasync")) {
        return fault_real.fdatasync(fd);
    }
    argument(&call, "fd", fd);
    if (go(&call)) {
        result = fault_real.fdatasync(fd);
    }
    return (int)finish(&call, result);
}

int rename(const char *from, const char *to);
int renameat(int from_folder, const char *from, int to_folder, const char *to);
int renameat2(int from_folder, const char *from, int to_folder, const char *to,
              unsigned flags);

int rename(const char *from, const char *to)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_RENAME, "rename")) {
        return fault_real.rename(from, to);
    }
    if (go(&call)) {
        result = fault_real.rename(from, to);
    }
    return (int)finish(&call, result);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_RENAME, "renameat")) {
        return fault_real.renameat(from_folder, from, to_folder, to);
    }
    if (go(&call)) {
        result = fault_real.renameat(from_folder, from, to_folder, to);
    }
    return (int)finish(&call, result);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to,
              unsigned flags)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_RENAME, "renameat2")) {
        return fault_real.renameat2(from_folder, from, to_folder, to, flags);
    }
    if (go(&call)) {
        result = fault_real.renameat2(from_folder, from, to_folder, to, flags);
    }
    return (int)finish(&call, result);
}

/* ---- Waiting ---- */

int poll(struct pollfd *set, nfds_t count, int timeout_ms)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_WAIT, "poll")) {
        return fault_real.poll(set, count, timeout_ms);
    }
    argument_size(&call, "nfds", count);
    argument(&call, "timeout_ms", timeout_ms);
    if (go(&call)) {
        result = fault_real.poll(set, count, fault_clock_ms(timeout_ms));
    }
    return (int)finish(&call, result);
}

int ppoll(struct pollfd *set, nfds_t count, const struct timespec *timeout,
          const sigset_t *mask);
int __poll_chk(struct pollfd *set, nfds_t count, int timeout_ms, size_t size);
int __ppoll_chk(struct pollfd *set, nfds_t count,
                const struct timespec *timeout, const sigset_t *mask,
                size_t size);

int ppoll(struct pollfd *set, nfds_t count, const struct timespec *timeout,
          const sigset_t *mask)
{
    struct timespec limit;
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_WAIT, "ppoll")) {
        return fault_real.ppoll(set, count, timeout, mask);
    }
    argument_size(&call, "nfds", count);
    if (go(&call)) {
        result = fault_real.ppoll(set, count, fault_clock_spec(timeout, &limit),
                                  mask);
    }
    return (int)finish(&call, result);
}

int __poll_chk(struct pollfd *set, nfds_t count, int timeout_ms, size_t size)
{
    if (size / sizeof(*set) < count) {
        return fault_real.poll_chk(set, count, timeout_ms, size);
    }
    return poll(set, count, timeout_ms);
}

int __ppoll_chk(struct pollfd *set, nfds_t count,
                const struct timespec *timeout, const sigset_t *mask,
                size_t size)
{
    if (size / sizeof(*set) < count) {
        return fault_real.ppoll_chk(set, count, timeout, mask, size);
    }
    return ppoll(set, count, timeout, mask);
}

int select(int count, fd_set *in, fd_set *out, fd_set *other,
           struct timeval *timeout)
{
    struct timeval limit;
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_WAIT, "select")) {
        return fault_real.select(count, in, out, other, timeout);
    }
    argument(&call, "nfds", count);
    if (go(&call)) {
        result = fault_real.select(count, in, out, other,
                                   fault_clock_val(timeout, &limit));
        if (timeout != NULL) { /* Linux leaves the rest of it there. */
            fault_clock_val_back(&limit);
            *timeout = limit;
        }
    }
    return (int)finish(&call, result);
}

int pselect(int count, fd_set *in, fd_set *out, fd_set *other,
            const struct timespec *timeout, const sigset_t *mask)
{
    struct timespec limit;
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_WAIT, "pselect")) {
        return fault_real.pselect(count, in, out, other, timeout, mask);
    }
    argument(&call, "nfds", count);
    if (go(&call)) {
        result = fault_real.pselect(count, in, out, other,
                                    fault_clock_spec(timeout, &limit), mask);
    }
    return (int)finish(&call, result);
}

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_WAIT, "epoll_wait")) {
        return fault_real.epoll_wait(fd, events, count, timeout_ms);
    }
    argument(&call, "fd", fd);
    argument(&call, "maxevents", count);
    argument(&call, "timeout_ms", timeout_ms);
    if (go(&call)) {
        result = fault_real.epoll_wait(fd, events, count,
                                       fault_clock_ms(timeout_ms));
    }
    return (int)finish(&call, result);
}

int epoll_pwait(int fd, struct epoll_event *events, int count, int timeout_ms,
                const sigset_t *mask)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_WAIT, "epoll_pwait")) {
        return fault_real.epoll_pwait(fd, events, count, timeout_ms, mask);
    }
    argument(&call, "fd", fd);
    argument(&call, "maxevents", count);
    argument(&call, "timeout_ms", timeout_ms);
    if (go(&call)) {
        result = fault_real.epoll_pwait(fd, events, count,
                                        fault_clock_ms(timeout_ms), mask);
    }
    return (int)finish(&call, result);
}

int epoll_pwait2(int fd, struct epoll_event *events, int count,
                 const struct timespec *timeout, const sigset_t *mask)
{
    struct timespec limit;
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_WAIT, "epoll_pwait2")) {
        return fault_real.epoll_pwait2(fd, events, count, timeout, mask);
    }
    argument(&call, "fd", fd);
    argument(&call, "maxevents", count);
    if (go(&call)) {
        result = fault_real.epoll_pwait2(
            fd, events, count, fault_clock_spec(timeout, &limit), mask);
    }
    return (int)finish(&call, result);
}

/* ---- Closing, and keeping the log's descriptor out of the way ---- */

static bool is_log(int fd)
{
    return ready() && fd >= 0 && fd == fault_log_descriptor();
}

static int close_unopened(int fd)
{
    int result = fault_real.close(fd); /* the kernel's own word */
    struct fault_line line;

    if (result == -1 && errno == EBADF && fault_log_descriptor() != -1) {
        fault_line_start(&line);
        fault_line_text(&line, "close - close(fd=");
        fault_line_number(&line, fd);
        fault_line_text(&line, ") = -1 EBADF");
        fault_line_write(&line);
    }
    return result;
}

int close(int fd)
{
    struct call call;
    struct stat status;
    int saved = errno;
    int result = -1;

    if (is_log(fd)) {
        errno = EBADF;
        return -1;
    }
    if (fstat(fd, &status) == -1) {
        errno = saved;
        return close_unopened(fd);
    }
    errno = saved;
    if (S_ISREG(status.st_mode)) {
        if (!is_written(fd) || !begin(&call, FAULT_CLOSEFILE, "close")) {
            return fault_real.close(fd);
        }
    } else if (!S_ISSOCK(status.st_mode) ||
               !begin(&call, FAULT_CLOSE, "close")) {
        return fault_real.close(fd);
    }
    argument(&call, "fd", fd);
    if (go(&call)) {
        result = fault_real.close(fd);
    }
    return (int)finish(&call, result);
}

int close_range(unsigned first, unsigned last, int flags);
void closefrom(int first);

int close_range(unsigned first, unsigned last, int flags)
{
    unsigned log_fd = ready() ? (unsigned)fault_log_descriptor() : ~0U;

    if (log_fd == ~0U || log_fd < first || log_fd > last) {
        return fault_real.close_range(first, last, flags);
    }
    if (log_fd > first &&
        fault_real.close_range(first, log_fd - 1, flags) == -1) {
        return -1;
    }
    return log_fd == last ? 0 : fault_real.close_range(log_fd + 1, last, flags);
}

void closefrom(int first)
{
    int log_fd = ready() ? fault_log_descriptor() : -1;

    if (first < 0) {
        first = 0;
    }
    if (log_fd < first) {
        fault_real.closefrom(first);
        return;
    }
    for (int fd = first; fd < log_fd; fd++) { /* at most 8192 turns */
        syscall(SYS_close, fd);
    }
    fault_real.closefrom(log_fd + 1);
}

int dup2(int from, int to)
{
    if (is_log(to) && from != to) {
        fault_log_move();
    }
    return fault_real.dup2(from, to);
}

int dup3(int from, int to, int flags);

int dup3(int from, int to, int flags)
{
    if (is_log(to) && from != to) {
        fault_log_move();
    }
    return fault_real.dup3(from, to, flags);
}

/* ---- Threads and processes ---- */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*function)(void *), void *value)
{
    struct call call;
    int result = -1;

    if (!begin(&call, FAULT_THREAD, "pthread_create")) {
        return fault_real.pthread_create(thread, attributes, function, value);
    }
    if (go(&call)) {
        result = fault_real.pthread_create(thread, attributes, function, value);
    }
    return finish_number(&call, result);
}

static void log_forked(void)
{
    struct fault_line line;

    if (fault_log_descriptor() != -1) {
        fault_line_start(&line);
        fault_line_text(&line, "forked - parent=");
        fault_line_number(&line, getppid());
        fault_line_write(&line);
    }
}

static pid_t fork_as(const char *function)
{
    struct call call;
    pid_t result = -1;

    if (!begin(&call, FAULT_FORK, function)) {
        return fault_real.fork();
    }
    if (go(&call)) {
        result = fault_real.fork();
        if (result == 0) {
            log_forked();
            return 0;
        }
    }
    return (pid_t)finish(&call, result);
}

pid_t fork(void)
{
    return fork_as("fork");
}

pid_t vfork(void)
{
    return fork_as("vfork");
}

/* ---- Memory ---- */

/* What dlsym(3) may ask for before the real allocator is known. It is never
 * given back.
 */
static struct {
    alignas(max_align_t) char bytes[4096];
    atomic_size_t used;
} arena;

static bool in_arena(const void *memory)
{
    uintptr_t start = (uintptr_t)arena.bytes;
    uintptr_t at = (uintptr_t)memory;

    return at >= start && at < start + sizeof(arena.bytes);
}

static void *arena_malloc(size_t size)
{
    size_t rounded = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) *
                     sizeof(max_align_t);
    size_t at;

    if (size > sizeof(arena.bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    at = atomic_fetch_add(&arena.used, rounded);
    if (at + rounded > sizeof(arena.bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return arena.bytes + at;
}

void *malloc(size_t size)
{
    struct call call;
    void *result = NULL;

    if (!begin(&call, FAULT_MALLOC, "malloc")) {
        return fault_real.malloc != NULL ? fault_real.malloc(size)
                                         : arena_malloc(size);
    }
    argument_size(&call, "size", size);
    if (go(&call)) {
        result = fault_real.malloc(size);
    }
    return finish_pointer(&call, result);
}

void *calloc(size_t count, size_t size)
{
    struct call call;
    void *result = NULL;

    if (!begin(&call, FAULT_MALLOC, "calloc")) {
        if (fault_real.calloc != NULL) {
            return fault_real.calloc(count, size);
        }
        if (size != 0 && count > sizeof(arena.bytes) / size) {
            errno = ENOMEM;
            return NULL;
        }
        return arena_malloc(count * size); /* fresh memory is zero */
    }
    argument_size(&call, "count", count);
    argument_size(&call, "size", size);
    if (go(&call)) {
        result = fault_real.calloc(count, size);
    }
    return finish_pointer(&call, result);
}

static void *arena_realloc(void *memory, size_t size)
{
    size_t rest = (size_t)((uintptr_t)arena.bytes + sizeof(arena.bytes) -
                           (uintptr_t)memory);
    void *result = fault_real.malloc != NULL ? fault_real.malloc(size)
                                             : arena_malloc(size);

    if (result != NULL) {
        memcpy(result, memory, size < rest ? size : rest);
    }
    return result;
}

void *realloc(void *memory, size_t size)
{
    struct call call;
    void *result = NULL;

    if (in_arena(memory)) {
        return arena_realloc(memory, size);
    }
    if (!begin(&call, FAULT_MALLOC, "realloc")) {
        return fault_real.realloc != NULL ? fault_real.realloc(memory, size)
                                          : arena_malloc(size);
    }
    argument_size(&call, "size", size);
    if (go(&call)) {
        result = fault_real.realloc(memory, size);
    }
    return finish_pointer(&call, result);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    struct call call;
    void *result = NULL;

    if (!begin(&call, FAULT_MALLOC, "aligned_alloc")) {
        return fault_real.aligned_alloc(alignment, size);
    }
    argument_size(&call, "alignment", alignment);
    argument_size(&call, "size", size);
    if (go(&call)) {
        result = fault_real.aligned_alloc(alignment, size);
    }
    return finish_pointer(&call, result);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    struct call call;
    int result = ENOMEM;

    if (!begin(&call, FAULT_MALLOC, "posix_memalign")) {
        return fault_real.posix_memalign(memory, alignment, size);
    }
    argument_size(&call, "alignment", alignment);
    argument_size(&call, "size", size);
    if (go(&call)) {
        result = fault_real.posix_memalign(memory, alignment, size);
    }
    return finish_number(&call, result);
}

void free(void *memory)
{
    if (memory == NULL || in_arena(memory)) {
        return;
    }
    fault_real.free(memory);
}
