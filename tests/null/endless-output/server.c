/* Sends the same line without end to each client. */
#include "null_lines.h"
#include "null_socket.h"

int main(int argc, char *argv[])
{
    int listener = null_listener(argc, argv);
    const char *block = null_lines("hello\n");
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection == -1)
            continue;
        while (send(connection, block, NULL_LINES_SIZE, MSG_NOSIGNAL) > 0)
            ;
        close(connection);
    }
}
