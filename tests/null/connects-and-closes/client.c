/* Connects, and ends at once with success. */
#include "null_socket.h"

int main(int argc, char *argv[])
{
    null_connection(argc, argv);
    return 0;
}
