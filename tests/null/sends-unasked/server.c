/* Sends a line before it is asked for one, then echoes rightly. */
#include "null_socket.h"

int main(int argc, char *argv[])
{
    int listener = null_listener(argc, argv);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection == -1)
            continue;
        char buffer[4096] = "welcome\n";
        ssize_t got = 8;
        while (got > 0 &&
               send(connection, buffer, (size_t)got, MSG_NOSIGNAL) == got)
            got = recv(connection, buffer, sizeof(buffer), 0);
        close(connection);
    }
}
