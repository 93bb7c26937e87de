/* Takes every connection and closes it. */
#include "null_socket.h"

int main(int argc, char *argv[])
{
    int listener = null_listener(argc, argv);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection != -1)
            close(connection);
    }
}
