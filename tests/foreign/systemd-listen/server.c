/* A sound echo server that somebody else has made the socket for: it listens
 * already, as descriptor 3 (sd_listen_fds(3)). One client is served at a time.
 */
#include "foreign_server.h"

#include <fcntl.h>

enum { FIRST = 3 };

/* Whether the environment says that one descriptor was left for this process.
 */
static bool is_given_one(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    return pid != NULL && count != NULL && strcmp(count, "1") == 0 &&
           strtol(pid, NULL, 10) == (long)getpid();
}

int main(void)
{
    int stop = open_stop(), yes = 0;
    socklen_t size = sizeof(yes);
    if (!is_given_one() ||
        getsockopt(FIRST, SOL_SOCKET, SO_ACCEPTCONN, &yes, &size) == -1 ||
        yes == 0) {
        errno = ENOTCONN;
        fail("descriptor 3");
    }
    fcntl(FIRST, F_SETFD, FD_CLOEXEC);
    fcntl(FIRST, F_SETFL, O_NONBLOCK);
    for (bool paused = false;;) {
        struct pollfd wanted[2] = {
            {.fd = stop, .events = POLLIN},
            {.fd = paused ? -1 : FIRST, .events = POLLIN}};
        int ready = poll(wanted, 2, paused ? PAUSE_MS : -1);
        if (ready == -1 && errno != EINTR)
            fail("poll");
        paused = false;
        if (ready == -1)
            continue;
        if (wanted[0].revents != 0)
            break;
        int connection = wanted[1].revents != 0 ? take_client(FIRST, &paused)
                                                : -1;
        if (connection != -1) {
            echo(connection, stop);
            close(connection);
        }
    }
    close(FIRST);
    close(stop);
    return 0;
}
