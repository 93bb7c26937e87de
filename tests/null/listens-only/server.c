/* Listens and never takes a connection. */
#include "null_socket.h"

int main(int argc, char *argv[])
{
    null_listener(argc, argv);
    for (;;)
        pause();
}
