/* A sound echo server: one process a client, 200 at most, each waited for.
 *
 * With -DREEXEC the process for a client runs this program anew, which knows
 * its client by the descriptor's number alone.
 */
#include "foreign_server.h"

#include <fcntl.h>
#include <sys/wait.h>

enum { MOST = 200 };

static pid_t children[MOST];
static int running;

static int open_ended(void)
{
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, NULL);
    int descriptor = signalfd(-1, &ended, SFD_NONBLOCK | SFD_CLOEXEC);
    if (descriptor == -1)
        fail("signalfd");
    return descriptor;
}

static void reap(int ended)
{
    struct signalfd_siginfo note;
    while (read(ended, &note, sizeof(note)) > 0)
        continue;
    for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
        for (int i = 0; i < running; i++)
            if (children[i] == pid)
                children[i--] = children[--running];
}

static void serve(char *argv[], int listener, int ended, int stop,
                  int connection)
{
#ifdef REEXEC
    char number[12];
    snprintf(number, sizeof(number), "%d", connection);
    if (fcntl(connection, F_SETFD, 0) != -1)
        execl(argv[0], argv[0], "--serve", number, (char *)NULL);
    complain("exec");
    (void)listener, (void)ended, (void)stop;
#else
    (void)argv;
    close(listener);
    close(ended);
    echo(connection, stop);
#endif
    _exit(0);
}

int main(int argc, char *argv[])
{
    int stop = open_stop();
    if (argc == 3 && strcmp(argv[1], "--serve") == 0) {
        echo(atoi(argv[2]), stop);
        return 0;
    }
    int ended = open_ended();
    int listener = open_listener(argc, argv);
    bool paused = false;
    for (;;) {
        struct pollfd wanted[3] = {
            {.fd = stop, .events = POLLIN},
            {.fd = ended, .events = POLLIN},
            {.fd = paused || running == MOST ? -1 : listener,
             .events = POLLIN}};
        int ready = poll(wanted, 3, paused ? PAUSE_MS : -1);
        if (ready == -1 && errno != EINTR)
            fail("poll");
        paused = false;
        if (ready == -1)
            continue;
        if (wanted[0].revents != 0)
            break;
        if (wanted[1].revents != 0)
            reap(ended);
        if (wanted[2].revents == 0)
            continue;
        int connection = take_client(listener, &paused);
        if (connection == -1)
            continue;
        pid_t pid = fork();
        if (pid == 0)
            serve(argv, listener, ended, stop, connection);
        if (pid == -1)
            complain("fork");
        else
            children[running++] = pid;
        close(connection);
    }
    close(listener);
    for (int i = 0; i < running; i++)
        kill(children[i], SIGTERM);
    while (waitpid(-1, NULL, 0) != -1 || errno == EINTR)
        continue;
    close(ended);
    close(stop);
    return 0;
}
