/* Takes all datagrams and answers none. */
#include "null_socket.h"

int main(int argc, char *argv[])
{
    int server = null_datagrams(argc, argv);
    for (;;) {
        char text[4096];
        recv(server, text, sizeof(text), 0);
    }
}
