/* Answers each datagram as it came; it never changes a letter. */
#include "null_socket.h"

int main(int argc, char *argv[])
{
    int server = null_datagrams(argc, argv);
    for (;;) {
        static char text[65536];
        struct sockaddr_storage client;
        socklen_t size = sizeof(client);
        ssize_t got = recvfrom(server, text, sizeof(text), 0,
                               (struct sockaddr *)&client, &size);
        if (got >= 0)
            sendto(server, text, (size_t)got, 0, (struct sockaddr *)&client,
                   size);
    }
}
