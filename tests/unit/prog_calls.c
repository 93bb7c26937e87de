/* prog_calls - makes the calls that its arguments name, one after the other.
 *
 * Run: build/tests/unit/prog_calls recv send ...
 *
 * For each name it writes a line: the name, the result (1 and 0 for pointers),
 * errno, and what was received. errno is 77 before each call, so that a call
 * that touches it without need is seen. The lines are written by dprintf(3),
 * whose write(2) no preload sees. It is the program under test of
 * test_fault_preload.c, which also says what each result must be.
 */
#define _GNU_SOURCE /* accept4, ppoll, close_range, and others */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ERRNO_BEFORE = 77, BUFFER_BYTES = 64, MANY = 20, WORKERS = 4 };

/* What _FORTIFY_SOURCE calls; no header declares them for us. */
ssize_t __read_chk(int fd, void *buffer, size_t length, size_t size);
ssize_t __recv_chk(int fd, void *buffer, size_t length, size_t size, int flags);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t length, size_t size,
                       int flags, struct sockaddr *address, socklen_t *length2);
int __poll_chk(struct pollfd *set, nfds_t count, int timeout_ms, size_t size);
int __ppoll_chk(struct pollfd *set, nfds_t count,
                const struct timespec *timeout, const sigset_t *mask,
                size_t size);

static int near = -1; /* a stream; `hello` waits in it */
static int far = -1;  /* its other end */
static int in = -1;   /* a pipe; `hello` waits in it */
static int out = -1;  /* the other end of that pipe */
static int listener = -1;
static struct sockaddr_in server; /* the listener's address */
static char buffer[BUFFER_BYTES];
static const char *self;

static _Noreturn void die(const char *what)
{
    dprintf(STDERR_FILENO, "prog_calls: %s: %s\n", what, strerror(errno));
    _exit(1);
}

/* Sends below the hooks. */
static void feed(int fd, const char *text)
{
    size_t length = strlen(text);

    if (syscall(SYS_write, fd, text, length) != (long)length) {
        die("feed");
    }
}

static void set_up(void)
{
    const char *text = "hello";
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1) {
        die("socketpair");
    }
    near = pair[0];
    far = pair[1];
    feed(far, text);
    if (pipe(pair) == -1) {
        die("pipe");
    }
    in = pair[0];
    out = pair[1];
    feed(out, text);
}

/* ---- Sockets ---- */

static long call_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) != -1 ? 1 : -1;
}

/* A listener below the hooks, for the calls that need one. */
static void need_listener(void)
{
    socklen_t length = sizeof(server);

    if (listener != -1) {
        return;
    }
    listener = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (syscall(SYS_bind, listener, &server, sizeof(server)) == -1 ||
        syscall(SYS_listen, listener, 4) == -1 ||
        getsockname(listener, (struct sockaddr *)&server, &length) == -1) {
        die("listener");
    }
}

static int raw_client(void)
{
    int fd = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);

    need_listener();
    if (syscall(SYS_connect, fd, &server, sizeof(server)) == -1) {
        die("connect");
    }
    return fd;
}

static int raw_socket(int family, int type)
{
    return (int)syscall(SYS_socket, family, type, 0);
}

static long call_bind(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return bind(raw_socket(AF_INET, SOCK_STREAM), (struct sockaddr *)&address,
                sizeof(address));
}

/* A late failure leaves it bound, a plain one does not. */
static long call_bind_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    int fd = raw_socket(AF_INET, SOCK_STREAM);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(fd, (struct sockaddr *)&address, length);
    getsockname(fd, (struct sockaddr *)&address, &length);
    return address.sin_port != 0;
}

static long call_bind_unix(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, "/no-such folder/x", 18);
    return bind(raw_socket(AF_UNIX, SOCK_STREAM), (struct sockaddr *)&address,
                sizeof(address));
}

static long call_bind_abstract(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, "\0sockstep\0x", 11);
    return bind(raw_socket(AF_UNIX, SOCK_STREAM), (struct sockaddr *)&address,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 11));
}

static long call_listen(void)
{
    return listen(raw_socket(AF_INET, SOCK_STREAM), 5);
}

static long call_accept(void)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof(peer);

    raw_client();
    return accept(listener, (struct sockaddr *)&peer, &length) != -1 ? 1 : -1;
}

static long call_accept4(void)
{
    raw_client();
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC) != -1 ? 1 : -1;
}

/* Whether the peer of a connection that was accepted late sees its end. */
static long call_accept_end(void)
{
    int client = raw_client();
    char byte;

    if (accept(listener, NULL, NULL) != -1) {
        return 1;
    }
    return syscall(SYS_read, client, &byte, 1);
}

static long call_connect(void)
{
    need_listener();
    return connect(raw_socket(AF_INET, SOCK_STREAM), (struct sockaddr *)&server,
                   sizeof(server));
}

/* Whether a connect that failed late is one all the same. */
static long call_connect_peer(void)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof(peer);
    int fd = raw_socket(AF_INET, SOCK_STREAM);

    need_listener();
    if (connect(fd, (struct sockaddr *)&server, sizeof(server)) == 0) {
        return 1;
    }
    errno = ERRNO_BEFORE;
    return getpeername(fd, (struct sockaddr *)&peer, &length);
}

/* `connect6=ADDRESS`: of datagrams, so that nothing is sent. */
static long call_connect6(const char *text)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};

    address.sin6_port = htons(4660);
    if (inet_pton(AF_INET6, text, &address.sin6_addr) != 1) {
        die("inet_pton");
    }
    connect(raw_socket(AF_INET6, SOCK_DGRAM), (struct sockaddr *)&address,
            sizeof(address));
    return 0;
}

static long call_shutdown(void)
{
    return shutdown(near, SHUT_WR);
}

static long call_setsockopt(void)
{
    int on = 1;

    return setsockopt(near, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

static long call_getsockopt(void)
{
    int error;
    socklen_t size = sizeof(error);

    return getsockopt(near, SOL_SOCKET, SO_ERROR, &error, &size);
}

/* ---- Receiving ---- */

static long call_recv(void)
{
    return recv(near, buffer, 5, 0);
}

static long call_recvfrom(void)
{
    struct sockaddr_un peer;
    socklen_t length = sizeof(peer);
    long result =
        recvfrom(near, buffer, 5, 0, (struct sockaddr *)&peer, &length);

    if (result != -1 && length != 0) { /* the other end has no name */
        die("recvfrom: length of the address");
    }
    return result;
}

/* Three buffers of two bytes each. */
static struct iovec *three(void)
{
    static struct iovec vector[3];

    for (int i = 0; i < 3; i++) {
        vector[i].iov_base = buffer + 2 * i;
        vector[i].iov_len = 2;
    }
    return vector;
}

/* So many buffers of one byte each. */
static struct iovec *many(void)
{
    static struct iovec vector[MANY];

    for (int i = 0; i < MANY; i++) {
        vector[i].iov_base = buffer + i;
        vector[i].iov_len = 1;
    }
    return vector;
}

static long call_recvmsg(void)
{
    struct iovec *vector = three();
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = 3};
    long result = recvmsg(near, &message, 0);

    if (message.msg_iov != vector || message.msg_iovlen != 3) {
        die("recvmsg: the message has changed");
    }
    return result;
}

static long call_read_socket(void)
{
    return read(near, buffer, 5);
}

static long call_readv_socket(void)
{
    return readv(near, three(), 3);
}

static long call_recv_chk(void)
{
    return __recv_chk(near, buffer, 5, sizeof(buffer), 0);
}

static long call_recvfrom_chk(void)
{
    return __recvfrom_chk(near, buffer, 5, sizeof(buffer), 0, NULL, NULL);
}

static long call_read_chk_socket(void)
{
    return __read_chk(near, buffer, 5, sizeof(buffer));
}

static long call_recv_datagram(void)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == -1) {
        die("socketpair");
    }
    feed(pair[1], "datagram");
    return recv(pair[0], buffer, 20, 0);
}

/* A pair of sockets with three datagrams on the way to the first. */
static void three_datagrams(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == -1) {
        die("socketpair");
    }
    feed(pair[1], "one");
    feed(pair[1], "two");
    feed(pair[1], "six");
}

static long call_recvmmsg(void)
{
    struct iovec vectors[3] = {{buffer, 3}, {buffer + 3, 3}, {buffer + 6, 3}};
    struct mmsghdr messages[3];
    int pair[2];

    three_datagrams(pair);
    memset(messages, 0, sizeof(messages));
    for (int i = 0; i < 3; i++) {
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    return recvmmsg(pair[0], messages, 3, MSG_DONTWAIT, NULL);
}

static long call_sendmmsg(void)
{
    struct iovec vector = {buffer, 3};
    struct mmsghdr messages[3];
    int pair[2];

    three_datagrams(pair);
    memset(messages, 0, sizeof(messages));
    for (int i = 0; i < 3; i++) {
        messages[i].msg_hdr.msg_iov = &vector;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    return sendmmsg(pair[1], messages, 3, MSG_DONTWAIT);
}

static long call_read(void)
{
    return read(in, buffer, 5);
}

static long call_readv(void)
{
    return readv(in, three(), 3);
}

static long call_read_chk(void)
{
    return __read_chk(in, buffer, 5, sizeof(buffer));
}

/* More than the buffer holds: the C library must still end the program. */
static long call_read_overflow(void)
{
    return __read_chk(in, buffer, sizeof(buffer) + 1, sizeof(buffer));
}

/* ---- Sending ---- */

/* What has arrived at the other end, read below the hooks. */
static void look(int fd)
{
    ssize_t length = syscall(SYS_read, fd, buffer, sizeof(buffer) - 1);

    if (length == -1) {
        die("look");
    }
}

static long sent(long result)
{
    int saved = errno;

    memset(buffer, 0, sizeof(buffer));
    if (result > 0) {
        look(far);
    }
    errno = saved;
    return result;
}

static long call_send(void)
{
    return sent(send(near, "hello", 5, MSG_NOSIGNAL));
}

static long call_send_signal(void)
{
    return sent(send(near, "hello", 5, 0));
}

static long call_sendto(void)
{
    return sent(sendto(near, "hello", 5, MSG_NOSIGNAL, NULL, 0));
}

static long call_sendmsg(void)
{
    struct msghdr message = {.msg_iov = three(), .msg_iovlen = 3};

    memcpy(buffer, "abcdef", 6);
    return sent(sendmsg(near, &message, MSG_NOSIGNAL));
}

static long call_write_socket(void)
{
    return sent(write(near, "hello", 5));
}

static long call_writev_socket(void)
{
    memcpy(buffer, "abcdef", 6);
    return sent(writev(near, three(), 3));
}

static long call_writev_many(void)
{
    memcpy(buffer, "abcdefghijklmnopqrst", MANY);
    return sent(writev(near, many(), MANY));
}

static long call_write(void)
{
    return write(out, "hello", 5);
}

static long call_writev(void)
{
    return writev(out, three(), 3);
}

/* ---- Data that stay in the kernel, and files ---- */

/* A file in memory with `hello` in it, at its begin. */
static int hello_file(void)
{
    int file = memfd_create("hello", MFD_CLOEXEC);

    feed(file, "hello");
    if (lseek(file, 0, SEEK_SET) == -1) {
        die("lseek");
    }
    errno = ERRNO_BEFORE;
    return file;
}

static long call_sendfile(void)
{
    return sent(sendfile(near, hello_file(), NULL, 5));
}

static long call_splice_in(void)
{
    return splice(near, NULL, out, NULL, 5, 0);
}

static long call_splice_out(void)
{
    return splice(in, NULL, hello_file(), NULL, 5, 0);
}

static long call_fsync(void)
{
    return fsync(hello_file());
}

static long call_fdatasync(void)
{
    return fdatasync(hello_file());
}

/* From this program's name to the same, which changes nothing. */
static long call_rename(void)
{
    return rename(self, self);
}

static long call_renameat(void)
{
    return renameat(AT_FDCWD, self, AT_FDCWD, self);
}

static long call_close_file(void)
{
    return close(hello_file());
}

/* ---- Waiting ---- */

static long call_poll(void)
{
    struct pollfd entry = {near, POLLIN, 0};

    return poll(&entry, 1, 1000);
}

static long call_ppoll(void)
{
    struct pollfd entry = {near, POLLIN, 0};

    return ppoll(&entry, 1, NULL, NULL);
}

static long call_poll_chk(void)
{
    struct pollfd entry = {near, POLLIN, 0};

    return __poll_chk(&entry, 1, 1000, sizeof(entry));
}

static long call_ppoll_chk(void)
{
    struct pollfd entry = {near, POLLIN, 0};

    return __ppoll_chk(&entry, 1, NULL, NULL, sizeof(entry));
}

static long call_select(void)
{
    fd_set set;

    FD_ZERO(&set);
    FD_SET(near, &set);
    return select(near + 1, &set, NULL, NULL, NULL);
}

static long call_pselect(void)
{
    fd_set set;

    FD_ZERO(&set);
    FD_SET(near, &set);
    return pselect(near + 1, &set, NULL, NULL, NULL, NULL);
}

static int epoll_of_near(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    int fd = epoll_create1(0);

    if (fd == -1 || epoll_ctl(fd, EPOLL_CTL_ADD, near, &event) == -1) {
        die("epoll");
    }
    return fd;
}

static long call_epoll_wait(void)
{
    struct epoll_event event;

    return epoll_wait(epoll_of_near(), &event, 1, 1000);
}

static long call_epoll_pwait(void)
{
    struct epoll_event event;

    return epoll_pwait(epoll_of_near(), &event, 1, 1000, NULL);
}

static long call_epoll_pwait2(void)
{
    struct epoll_event event;

    return epoll_pwait2(epoll_of_near(), &event, 1, NULL, NULL);
}

/* ---- Closing ---- */

/* ---- Time: each of these waits for two seconds ---- */

static int64_t milliseconds(struct timespec time)
{
    return time.tv_sec * INT64_C(1000) + time.tv_nsec / 1000000;
}

static struct timespec kernel_now(clockid_t clock)
{
    struct timespec now;

    syscall(SYS_clock_gettime, clock, &now);
    return now;
}

static struct timespec program_now(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now;
}

static struct timespec in_two_seconds(clockid_t clock)
{
    struct timespec when = program_now(clock);

    when.tv_sec += 2;
    return when;
}

static void wait_in_nanosleep(void)
{
    nanosleep(&(struct timespec){2, 0}, NULL);
}

static void wait_in_clock_nanosleep(void)
{
    struct timespec when = in_two_seconds(CLOCK_MONOTONIC);

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
}

static void wait_in_sleep(void)
{
    sleep(2);
}

static void wait_in_poll(void)
{
    poll(NULL, 0, 2000);
}

static void wait_in_ppoll(void)
{
    ppoll(NULL, 0, &(struct timespec){2, 0}, NULL);
}

static void wait_in_select(void)
{
    select(0, NULL, NULL, NULL, &(struct timeval){2, 0});
}

static void wait_in_pselect(void)
{
    pselect(0, NULL, NULL, NULL, &(struct timespec){2, 0}, NULL);
}

static void wait_in_epoll(void)
{
    struct epoll_event event;

    epoll_wait(epoll_create1(0), &event, 1, 2000);
}

static void wait_in_recv(void)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == -1 ||
        setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){2, 0},
                   sizeof(struct timeval)) == -1) {
        die("SO_RCVTIMEO");
    }
    recv(pair[0], buffer, 1, 0);
}

static void wait_for_alarm(void)
{
    sigset_t set;
    int number;

    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    alarm(2);
    sigwait(&set, &number);
}

static void wait_for_timerfd(void)
{
    struct itimerspec when = {{0, 0}, in_two_seconds(CLOCK_REALTIME)};
    int timer = timerfd_create(CLOCK_REALTIME, 0);
    uint64_t count;

    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL) == -1 ||
        read(timer, &count, sizeof(count)) == -1) {
        die("timerfd");
    }
}

static void wait_in_condition(void)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    struct timespec when = in_two_seconds(CLOCK_REALTIME);

    pthread_mutex_lock(&mutex);
    while (pthread_cond_timedwait(&condition, &mutex, &when) == 0) {
    }
    pthread_mutex_unlock(&mutex);
}

static void wait_in_semaphore(void)
{
    struct timespec when = in_two_seconds(CLOCK_REALTIME);
    sem_t semaphore;

    sem_init(&semaphore, 0, 0);
    sem_timedwait(&semaphore, &when);
}

/* How often two seconds have passed for the program in each wait, if they
 * have passed neither too soon nor, by the kernel's clock, in full.
 */
static long call_waits(void)
{
    static void (*const waits[])(void) = {
        wait_in_nanosleep, wait_in_clock_nanosleep, wait_in_sleep,
        wait_in_poll,      wait_in_ppoll,           wait_in_select,
        wait_in_pselect,   wait_in_epoll,           wait_in_recv,
        wait_for_alarm,    wait_for_timerfd,        wait_in_condition,
        wait_in_semaphore,
    };
    size_t count = sizeof(waits) / sizeof(waits[0]);

    for (size_t i = 0; i < count; i++) {
        int64_t kernel = milliseconds(kernel_now(CLOCK_MONOTONIC));
        int64_t seen = milliseconds(program_now(CLOCK_MONOTONIC));
        int64_t real = milliseconds(program_now(CLOCK_REALTIME));

        waits[i]();
        kernel = milliseconds(kernel_now(CLOCK_MONOTONIC)) - kernel;
        seen = milliseconds(program_now(CLOCK_MONOTONIC)) - seen;
        real = milliseconds(program_now(CLOCK_REALTIME)) - real;
        if (seen < 1990 || real < 1990 || kernel >= 2000) {
            dprintf(STDERR_FILENO, "wait %zu: %ld ms, %ld ms, kernel %ld ms\n",
                    i, (long)seen, (long)real, (long)kernel);
            return (long)i;
        }
    }
    errno = ERRNO_BEFORE;
    return (long)count;
}

static long call_close(void)
{
    return close(near);
}

/* Whether a close that failed late has closed: then this is -1 with EBADF. */
static long call_close_open(void)
{
    if (close(near) == 0) {
        return 1;
    }
    return fcntl(near, F_GETFD);
}

static long call_close_twice(void)
{
    close(near);
    return close(near);
}

static long call_close_pipe(void)
{
    return close(in);
}

/* Everything from 3 up by close(2), as careless daemons do. */
static long call_close_each(void)
{
    for (int fd = 3; fd < 9000; fd++) {
        close(fd);
    }
    set_up();
    return 0;
}

static long call_close_range(void)
{
    if (close_range(3, ~0U, 0) == -1) {
        die("close_range");
    }
    set_up();
    return 0;
}

static long call_closefrom(void)
{
    closefrom(3);
    set_up();
    return 0;
}

/* Whether the log has the highest number of all descriptors. */
static long call_log_is_highest(void)
{
    char path[64];
    char target[64];
    ssize_t length = 0;

    for (int fd = 9000; fd >= 0 && length <= 0; fd--) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        length = readlink(path, target, sizeof(target) - 1);
    }
    target[length > 0 ? length : 0] = '\0';
    errno = ERRNO_BEFORE;
    return strstr(target, "test_fault_preload") != NULL;
}

/* A copy on every number: the log's own is among them. */
static long call_dup2_each(void)
{
    for (int fd = 9; fd < 1024; fd++) {
        if (dup2(STDIN_FILENO, fd) == -1) {
            die("dup2");
        }
    }
    return 0;
}

static long call_dup3_each(void)
{
    for (int fd = 9; fd < 1024; fd++) {
        if (dup3(STDIN_FILENO, fd, O_CLOEXEC) == -1) {
            die("dup3");
        }
    }
    return 0;
}

/* ---- Memory ---- */

static long gone(void *memory)
{
    int saved = errno;

    free(memory);
    errno = saved;
    return memory != NULL;
}

static long call_malloc(void)
{
    return gone(malloc(100));
}

static long call_calloc(void)
{
    return gone(calloc(10, 10));
}

/* The old memory must be whole if realloc fails. */
static long call_realloc(void)
{
    static char *volatile old; /* volatile: the calls are not to be merged */
    char *new;

    old = malloc(10);
    if (old == NULL) {
        die("malloc");
    }
    memcpy(old, "old", 4);
    errno = ERRNO_BEFORE;
    new = realloc(old, 1000);
    if (new == NULL) {
        memcpy(buffer, old, 4);
        return gone(old);
    }
    memcpy(buffer, new, 4);
    return gone(new) + 1;
}

static long call_aligned_alloc(void)
{
    return gone(aligned_alloc(64, 128));
}

static long call_posix_memalign(void)
{
    void *memory = NULL;
    int result = posix_memalign(&memory, 64, 128);

    gone(memory);
    return result;
}

/* ---- Threads and processes ---- */

static void *nothing(void *value)
{
    return value;
}

static long call_pthread_create(void)
{
    pthread_t thread;
    int result = pthread_create(&thread, NULL, nothing, NULL);
    int saved = errno;

    if (result == 0) {
        pthread_join(thread, NULL);
    }
    errno = saved;
    return result;
}

static long reap(pid_t child)
{
    int saved = errno;
    int status;

    if (child > 0 && (waitpid(child, &status, 0) != child || status != 0)) {
        die("child");
    }
    errno = saved;
    return child > 0 ? 1 : child;
}

static long call_fork(void)
{
    pid_t child = fork();

    if (child == 0) {
        _exit(0);
    }
    return reap(child);
}

static long call_vfork(void)
{
    pid_t child = vfork();

    if (child == 0) {
        _exit(0);
    }
    return reap(child);
}

/* Child and parent both send their second message. */
static long call_fork_send(void)
{
    pid_t child;

    send(near, "1", 1, MSG_NOSIGNAL);
    child = fork();
    if (child == 0) {
        _exit(send(near, "2", 1, MSG_NOSIGNAL) == 1 ? 0 : 1);
    }
    send(near, "2", 1, MSG_NOSIGNAL);
    return reap(child);
}

static long call_exec(void)
{
    execl(self, self, "send", (char *)NULL);
    die("exec");
}

static void *worker(void *value)
{
    for (int i = 0; i < 50; i++) {
        if (send(near, "x", 1, MSG_NOSIGNAL) != 1) {
            die("send");
        }
    }
    return value;
}

static long call_workers(void)
{
    pthread_t threads[WORKERS];

    for (int i = 0; i < WORKERS; i++) {
        if (pthread_create(&threads[i], NULL, worker, NULL) != 0) {
            die("pthread_create");
        }
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    return 0;
}

/* ---- Signals ---- */

static volatile sig_atomic_t signals;

/* Feeds what the interrupted code is about to wait for. */
static void on_signal(int number)
{
    (void)number;
    signals += errno == ERRNO_BEFORE ? 1 : 100;
    feed(far, "late!");
    errno = 0; /* a handler may do so: the kernel's interrupted call may not */
}

/* Takes `hello` away, so that the next recv waits until the handler feeds. */
static long call_handle(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = on_signal;
    if (sigaction(SIGUSR1, &action, NULL) == -1) {
        die("sigaction");
    }
    look(near);
    memset(buffer, 0, sizeof(buffer));
    return 0;
}

static long call_signals(void)
{
    return signals;
}

static void *receiver(void *value)
{
    if (recv(near, buffer, 5, 0) != 5) {
        die("recv");
    }
    return value;
}

/* Whether the main thread has the signal pending that was sent while another
 * thread made its call.
 */
static long call_pending(void)
{
    sigset_t set;
    pthread_t thread;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 ||
        pthread_create(&thread, NULL, receiver, NULL) != 0) {
        die("thread");
    }
    pthread_join(thread, NULL);
    if (sigpending(&set) == -1) {
        die("sigpending");
    }
    return sigismember(&set, SIGUSR1);
}

/* ---- The list ---- */

static const struct {
    const char *name;
    long (*call)(void);
} calls[] = {
    {"socket", call_socket},
    {"bind", call_bind},
    {"bind-port", call_bind_port},
    {"bind-unix", call_bind_unix},
    {"bind-abstract", call_bind_abstract},
    {"listen", call_listen},
    {"accept", call_accept},
    {"accept4", call_accept4},
    {"accept-end", call_accept_end},
    {"connect", call_connect},
    {"connect-peer", call_connect_peer},
    {"shutdown", call_shutdown},
    {"setsockopt", call_setsockopt},
    {"getsockopt", call_getsockopt},
    {"recv", call_recv},
    {"recvfrom", call_recvfrom},
    {"recvmsg", call_recvmsg},
    {"read-socket", call_read_socket},
    {"readv-socket", call_readv_socket},
    {"recv_chk", call_recv_chk},
    {"recvfrom_chk", call_recvfrom_chk},
    {"read_chk-socket", call_read_chk_socket},
    {"recv-datagram", call_recv_datagram},
    {"recvmmsg", call_recvmmsg},
    {"sendmmsg", call_sendmmsg},
    {"waits", call_waits},
    {"read", call_read},
    {"readv", call_readv},
    {"read_chk", call_read_chk},
    {"read-overflow", call_read_overflow},
    {"send", call_send},
    {"send-signal", call_send_signal},
    {"sendto", call_sendto},
    {"sendmsg", call_sendmsg},
    {"write-socket", call_write_socket},
    {"writev-socket", call_writev_socket},
    {"writev-many", call_writev_many},
    {"write", call_write},
    {"writev", call_writev},
    {"sendfile", call_sendfile},
    {"splice-in", call_splice_in},
    {"splice-out", call_splice_out},
    {"fsync", call_fsync},
    {"fdatasync", call_fdatasync},
    {"rename", call_rename},
    {"renameat", call_renameat},
    {"close-file", call_close_file},
    {"poll", call_poll},
    {"ppoll", call_ppoll},
    {"poll_chk", call_poll_chk},
    {"ppoll_chk", call_ppoll_chk},
    {"select", call_select},
    {"pselect", call_pselect},
    {"epoll_wait", call_epoll_wait},
    {"epoll_pwait", call_epoll_pwait},
    {"epoll_pwait2", call_epoll_pwait2},
    {"close", call_close},
    {"close-open", call_close_open},
    {"close-twice", call_close_twice},
    {"close-pipe", call_close_pipe},
    {"close-each", call_close_each},
    {"close_range", call_close_range},
    {"closefrom", call_closefrom},
    {"log-is-highest", call_log_is_highest},
    {"dup2-each", call_dup2_each},
    {"dup3-each", call_dup3_each},
    {"malloc", call_malloc},
    {"calloc", call_calloc},
    {"realloc", call_realloc},
    {"aligned_alloc", call_aligned_alloc},
    {"posix_memalign", call_posix_memalign},
    {"pthread_create", call_pthread_create},
    {"fork", call_fork},
    {"vfork", call_vfork},
    {"fork-send", call_fork_send},
    {"exec", call_exec},
    {"workers", call_workers},
    {"handle", call_handle},
    {"signals", call_signals},
    {"pending", call_pending},
};

static long call_named(const char *name)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (strcmp(calls[i].name, name) == 0) {
            errno = ERRNO_BEFORE;
            return calls[i].call();
        }
    }
    if (strncmp(name, "connect6=", 9) == 0) {
        errno = ERRNO_BEFORE;
        return call_connect6(name + 9);
    }
    errno = EINVAL;
    die(name);
}

int main(int argc, char **argv)
{
    self = argv[0];
    set_up();
    for (int i = 1; i < argc; i++) {
        long result;
        int error;

        memset(buffer, 0, sizeof(buffer));
        result = call_named(argv[i]);
        error = errno;
        dprintf(STDOUT_FILENO, "%s %ld %d %s\n", argv[i], result, error,
                buffer);
    }
    return 0;
}
