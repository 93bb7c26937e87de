/* Sends its line and does not wait for the answer. */
#include "null_socket.h"

int main(int argc, char *argv[])
{
    struct addrinfo *address = null_address(argc, argv, "127.0.0.1");
    int server = socket(AF_INET, SOCK_DGRAM, 0);
    char line[4096];
    if (fgets(line, sizeof(line), stdin) != NULL)
        sendto(server, line, strcspn(line, "\n"), 0, address->ai_addr,
               address->ai_addrlen);
    freeaddrinfo(address);
    close(server);
    return 0;
}
