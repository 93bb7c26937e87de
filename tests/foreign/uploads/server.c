/* A sound server for uploads: one thread, ppoll(2), and for each client the
 * step that is next, kept as a pointer to a function.
 *
 * It knows the document's form only, not the lesson's header.
 */
#define _GNU_SOURCE

#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS 200
#define NEVER LLONG_MAX
#define UNFINISHED ".incoming-"

struct session;
typedef void step(struct session *);    /* takes what has come */

struct session {
    step *next;                         /* NULL: nobody sits here */
    int sock, file;
    long long due;                      /* when it is given up, in ms */
    unsigned long long missing;         /* bytes of the data */
    size_t unsent;                      /* of the answer; nothing is read
                                           before all of it is sent */
    char answer[200], name[NAME_MAX + 1], draft[sizeof(UNFINISHED) + 6];
};

static step take_name, take_size, take_data, drain;

static struct session session[SESSIONS];
static int listener;
static long long open_at, end_by = NEVER; /* ms: accept again, give all up */
static mode_t mask;
static volatile sig_atomic_t stop;

static void on_stop(int number)
{
    stop = number;
}

static long long clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void leave(struct session *s)
{
    if (s->file != -1) {                /* it never became a whole one */
        close(s->file);
        unlink(s->draft);
    }
    close(s->sock);
    s->next = NULL;
}

static void flush_answer(struct session *s)
{
    size_t length = strlen(s->answer);
    ssize_t n = send(s->sock, s->answer + length - s->unsent, s->unsent,
                     MSG_NOSIGNAL);
    if (n >= 0)
        s->unsent -= (size_t)n;
    else if (errno != EINTR && errno != EAGAIN)
        leave(s);
    if (s->next == drain && s->unsent == 0)
        shutdown(s->sock, SHUT_WR);
}

static void say(struct session *s, step *next, const char *text)
{
    snprintf(s->answer, sizeof(s->answer), "%s", text);
    s->unsent = strlen(s->answer);
    s->next = next;
    flush_answer(s);
}

/* After the last word: what the client still sends is taken for a second, so
 * that close() makes no reset of it. */
static void last_word(struct session *s, const char *text)
{
    s->due = clock_ms() + 1000;
    say(s, drain, text);
}

static void refuse(struct session *s, const char *why)
{
    char text[sizeof(s->answer)];
    snprintf(text, sizeof(text), "[-] server : %s", why);
    if (s->file != -1) {
        close(s->file);
        unlink(s->draft);
        s->file = -1;
    }
    last_word(s, text);
}

/* As read(2), but 0 also for a client that is lost: `s` is gone then. */
static size_t take(struct session *s, void *buffer, size_t room)
{
    ssize_t n = read(s->sock, buffer, room);
    if (n > 0)
        return (size_t)n;
    if (n == -1 && (errno == EINTR || errno == EAGAIN))
        return 0;
    leave(s);
    return 0;
}

static bool is_good_name(const char *name)
{
    for (const char *c = name; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c))
            return false;
    return name[0] != '\0' && strlen(name) <= NAME_MAX &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strncmp(name, UNFINISHED, strlen(UNFINISHED)) != 0;
}

static void take_name(struct session *s)
{
    char path[PATH_MAX];
    size_t n = take(s, path, sizeof(path) - 1);
    if (n == 0)
        return;
    path[n] = '\0';
    const char *slash = memrchr(path, '/', n);
    const char *name = slash != NULL ? slash + 1 : path;
    if (strlen(path) != n || !is_good_name(name)) {
        refuse(s, "no file can have that name here");
        return;
    }
    strcpy(s->name, name);
    say(s, take_size, "[+] server : filename query ok");
}

static bool open_draft(struct session *s)
{
    strcpy(s->draft, UNFINISHED "XXXXXX");
    s->file = mkostemp(s->draft, O_CLOEXEC);
    return s->file != -1 && fchmod(s->file, 0666 & ~mask) == 0;
}

static void finish(struct session *s)
{
    bool good = fsync(s->file) == 0;
    good = close(s->file) == 0 && good;
    s->file = -1;
    if (!good || rename(s->draft, s->name) == -1) {
        const char *why = strerror(errno);
        unlink(s->draft);
        refuse(s, why);
        return;
    }
    int folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    good = folder != -1 && fsync(folder) == 0;
    if (folder != -1)
        close(folder);
    if (good)
        last_word(s, "[+] server : finished transferring file");
    else
        refuse(s, "the folder can't be written");
}

static void take_size(struct session *s)
{
    char text[24], *end = text;
    size_t n = take(s, text, sizeof(text) - 1);
    if (n == 0)
        return;
    text[n] = '\0';
    errno = 0;
    if (isdigit((unsigned char)text[0]))
        s->missing = strtoull(text, &end, 10);
    if (end != text + n || errno != 0) {
        refuse(s, "that is no number of bytes");
        return;
    }
    struct statvfs disk;
    if (statvfs(".", &disk) == -1 ||
        s->missing / disk.f_frsize >= disk.f_bavail) {
        refuse(s, "there is no room for so much");
        return;
    }
    if (!open_draft(s)) {
        refuse(s, strerror(errno));
        return;
    }
    say(s, take_data, "[+] server : filesize query ok");
    if (s->next == take_data && s->missing == 0)
        finish(s);
}

static void take_data(struct session *s)
{
    static char piece[1 << 16];
    size_t n = take(s, piece, s->missing < sizeof(piece) ? (size_t)s->missing
                                                         : sizeof(piece));
    for (size_t done = 0; done < n;) {
        ssize_t put = write(s->file, piece + done, n - done);
        if (put >= 0) {
            done += (size_t)put;
        } else if (errno != EINTR) {
            refuse(s, strerror(errno));
            return;
        }
    }
    s->missing -= n;
    if (n > 0 && s->missing == 0)
        finish(s);
}

static void drain(struct session *s)
{
    char nothing[4096];
    take(s, nothing, sizeof(nothing));
}

static void welcome(void)
{
    int sock = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (sock == -1) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
            errno == ENOBUFS)
            open_at = clock_ms() + 100;
        return;                         /* all else was about one client */
    }
    struct session *s = session;
    while (s->next != NULL)             /* the caller has seen a free one */
        s++;
    *s = (struct session){.next = take_name, .sock = sock, .file = -1,
                          .due = NEVER};
}

static void begin_end(void)
{
    close(listener);
    listener = -1;
    end_by = clock_ms() + 1000;
    for (struct session *s = session; s < session + SESSIONS; s++)
        if (s->next == take_name || s->next == drain)
            leave(s);
}

/* Waits, and lets each client that is ready go one step. False at the end. */
static bool turn(const sigset_t *outside)
{
    struct pollfd set[SESSIONS + 1];
    long long now = clock_ms(), wake = NEVER;
    int seated = 0;
    for (int i = 0; i < SESSIONS; i++) {
        struct session *s = &session[i];
        if (s->next != NULL && (now >= s->due || now >= end_by))
            leave(s);
        set[i] = (struct pollfd){
            .fd = s->next != NULL ? s->sock : -1,
            .events = s->unsent > 0 ? POLLOUT : POLLIN};
        seated += s->next != NULL;
        if (s->next != NULL && s->due < wake)
            wake = s->due;
    }
    if (listener == -1 && seated == 0)
        return false;
    bool open = seated < SESSIONS && now >= open_at;
    set[SESSIONS] = (struct pollfd){.fd = open ? listener : -1,
                                    .events = POLLIN};
    if (!open && seated < SESSIONS && open_at < wake)
        wake = open_at;
    if (end_by < wake)
        wake = end_by;
    struct timespec limit = {.tv_sec = (wake - now) / 1000,
                             .tv_nsec = (wake - now) % 1000 * 1000000};
    int ready = ppoll(set, SESSIONS + 1, wake == NEVER ? NULL : &limit,
                      outside);
    if (ready == -1 && errno != EINTR)
        err(1, "ppoll");
    if (stop != 0 && listener != -1)
        begin_end();
    for (int i = 0; ready > 0 && i < SESSIONS; i++) {
        struct session *s = &session[i];
        if (set[i].revents == 0 || s->next == NULL)
            continue;
        if (s->unsent > 0)
            flush_answer(s);
        else
            s->next(s);
    }
    if (ready > 0 && set[SESSIONS].revents != 0 && listener != -1)
        welcome();
    return true;
}

static void usage(void)
{
    fprintf(stderr, "usage: %s [-H HOST] [-P PORT]\n",
            program_invocation_short_name);
    exit(2);
}

static void start_listening(const char *host, const char *port)
{
    struct addrinfo wish = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                            .ai_family = host == NULL ? AF_INET : AF_UNSPEC,
                            .ai_socktype = SOCK_STREAM}, *found;
    int wrong = getaddrinfo(host, port, &wish, &found), yes = 1;
    if (wrong != 0)
        errx(1, "%s: %s", host, gai_strerror(wrong));
    listener = socket(found->ai_family,
                      SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener == -1)
        err(1, "socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(listener, found->ai_addr, found->ai_addrlen) == -1)
        err(1, "bind to port %s", port);
    freeaddrinfo(found);
    if (listen(listener, 100) == -1)
        err(1, "listen");
}

int main(int argc, char *argv[])
{
    const char *host = NULL, *port = "50000";
    for (int c; (c = getopt(argc, argv, "H:P:")) != -1;) {
        if (c == 'H')
            host = optarg;
        else if (c == 'P')
            port = optarg;
        else
            usage();
    }
    if (optind < argc || *port == '\0' || strlen(port) > 5 ||
        port[strspn(port, "0123456789")] != '\0' || atoi(port) > 65535)
        usage();

    sigset_t inside, outside;
    sigemptyset(&inside);
    sigaddset(&inside, SIGINT);
    sigaddset(&inside, SIGTERM);
    sigprocmask(SIG_BLOCK, &inside, &outside);
    sigdelset(&outside, SIGINT);
    sigdelset(&outside, SIGTERM);
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_stop}, NULL);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_stop}, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);           /* write() says EFBIG then */
    mask = umask(0);
    umask(mask);

    start_listening(host, port);
    while (turn(&outside))
        continue;
    return 0;
}
