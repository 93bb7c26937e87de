/* Sends the same line without end to its server. */
#include "null_lines.h"
#include "null_socket.h"

int main(int argc, char *argv[])
{
    int server = null_connection(argc, argv);
    const char *block = null_lines("hello\n");
    while (send(server, block, NULL_LINES_SIZE, MSG_NOSIGNAL) > 0)
        ;
    return 0;
}
