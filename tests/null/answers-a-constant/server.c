/* Answers whatever comes with the same line. */
#include "null_socket.h"

int main(int argc, char *argv[])
{
    int listener = null_listener(argc, argv);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection == -1)
            continue;
        char buffer[4096];
        while (recv(connection, buffer, sizeof(buffer), 0) > 0)
            send(connection, "hello\n", 6, MSG_NOSIGNAL);
        close(connection);
    }
}
