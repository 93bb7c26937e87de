/* Connects, and reads neither its input nor the connection. */
#include "null_socket.h"

int main(int argc, char *argv[])
{
    null_connection(argc, argv);
    for (;;)
        pause();
}
