/*
 * lines - a sound echo client that prints each reply after a ">"
 *
 * What is typed is kept in a queue that grows, so that neither the keyboard
 * nor the server is ever waited for alone. The replies are owed by the server:
 * one newline for each that was sent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 3000, MUCH = 256 * 1024 };

typedef struct {
  char *bytes;
  size_t begin, end, room;
} queue_t;

typedef struct {
  int socket;
  queue_t queue;                // typed, and not sent yet
  bool typed_all;
  bool typing_line;             // the last line typed has no newline yet
  bool printing_line;           // so has the last one printed
  unsigned long sent, printed;  // lines
} client_t;

static void oops (const char *format, ...)
{
  va_list arguments;
  va_start (arguments, format);
  fputs ("client: ", stderr);
  vfprintf (stderr, format, arguments);
  fputc ('\n', stderr);
  va_end (arguments);
  exit (EXIT_FAILURE);
}

static size_t length_of (const queue_t *queue)
{
  return queue->end - queue->begin;
}

static void append (queue_t *queue, const char *bytes, size_t length)
{
  if (queue->begin == queue->end)
    queue->begin = queue->end = 0;
  if (queue->end + length > queue->room) {
    char *larger = realloc (queue->bytes, queue->room = 2 * queue->room +
                            length);
    if (larger == NULL)
      oops ("queue: %s", strerror (errno));
    queue->bytes = larger;
  }
  memcpy (queue->bytes + queue->end, bytes, length);
  queue->end += length;
}

// Up to an empty line: that, like the end of the input, is the last one.
static void take_typed (client_t *client)
{
  char chunk[CHUNK];
  ssize_t got = read (STDIN_FILENO, chunk, sizeof chunk);
  if (got == -1 && (errno == EINTR || errno == EAGAIN))
    return;
  if (got == -1)
    oops ("standard input: %s", strerror (errno));
  size_t wanted = 0;
  while (wanted < (size_t) got) {
    bool ends = chunk[wanted] == '\n';
    if (ends && !client->typing_line)
      break;
    client->typing_line = !ends;
    client->sent += ends;
    wanted++;
  }
  append (&client->queue, chunk, wanted);
  client->typed_all = got == 0 || wanted < (size_t) got;
  if (client->typed_all && client->typing_line) {
    append (&client->queue, "\n", 1);
    client->typing_line = false;
    client->sent++;
  }
}

static void send_typed (client_t *client)
{
  queue_t *queue = &client->queue;
  ssize_t done = send (client->socket, queue->bytes + queue->begin,
                       length_of (queue), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (done >= 0)
    queue->begin += (size_t) done;
  else if (errno != EINTR && errno != EAGAIN)
    oops ("send: %s", strerror (errno));
}

static void print (client_t *client, const char *bytes, size_t length)
{
  for (size_t i = 0; i < length; i++) {
    if (!client->printing_line)
      putchar ('>');
    putchar (bytes[i]);
    client->printing_line = bytes[i] != '\n';
    client->printed += bytes[i] == '\n';
  }
  if (fflush (stdout) == EOF || ferror (stdout))
    oops ("standard output: %s", strerror (errno));
}

// False at the end of the server's stream.
static bool take_replies (client_t *client)
{
  char chunk[CHUNK];
  ssize_t got = recv (client->socket, chunk, sizeof chunk, MSG_DONTWAIT);
  if (got == -1 && errno != EINTR && errno != EAGAIN)
    oops ("recv: %s", strerror (errno));
  if (got > 0)
    print (client, chunk, (size_t) got);
  return got != 0;
}

static bool is_done (const client_t *client)
{
  return client->typed_all && length_of (&client->queue) == 0 &&
         client->printed >= client->sent;
}

static void converse (client_t *client)
{
  while (!is_done (client)) {
    bool full = length_of (&client->queue) > MUCH;
    struct pollfd both[] = {
      { .fd = client->typed_all || full ? -1 : STDIN_FILENO,
        .events = POLLIN },
      { .fd = client->socket, .events = POLLIN } };
    if (length_of (&client->queue) > 0)
      both[1].events |= POLLOUT;
    if (poll (both, 2, -1) == -1) {
      if (errno != EINTR)
        oops ("poll: %s", strerror (errno));
      continue;
    }
    if ((both[1].revents & ~POLLOUT) != 0 && !take_replies (client)) {
      if (client->printed < client->sent || client->printing_line ||
          client->typing_line)
        oops ("recv: the server has ended before its last reply");
      return;
    }
    if ((both[1].revents & POLLOUT) != 0)
      send_typed (client);
    if (both[0].revents != 0)
      take_typed (client);
  }
}

static int connect_any (const char *host, const char *port)
{
  struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
  int code = getaddrinfo (host, port, &hints, &list), why = 0, sock = -1;
  if (code != 0)
    oops ("%s: %s", host, gai_strerror (code));
  for (struct addrinfo *item = list; item; item = item->ai_next) {
    sock = socket (item->ai_family, item->ai_socktype, item->ai_protocol);
    if (sock == -1)
      oops ("socket: %s", strerror (errno));
    why = connect (sock, item->ai_addr, item->ai_addrlen) == 0 ? 0 : errno;
    if (why == EINTR) {         // it is under way all the same
      struct pollfd one = { .fd = sock, .events = POLLOUT };
      socklen_t size = sizeof why;
      while (poll (&one, 1, -1) == -1 && errno == EINTR)
        continue;
      getsockopt (sock, SOL_SOCKET, SO_ERROR, &why, &size);
    }
    if (why == 0)
      break;
    close (sock);
  }
  freeaddrinfo (list);
  if (why != 0)
    oops ("connect %s: %s", host, strerror (why));
  return sock;
}

static int usage (void)
{
  fputs ("usage: client [-H HOST] [-P PORT]\n", stderr);
  return 2;
}

int main (int argc, char **argv)
{
  const char *host = "127.0.0.1", *port = "8080";
  int option;
  while ((option = getopt (argc, argv, "H:P:")) != -1)
    switch (option) {
    case 'H':
      host = optarg;
      break;
    case 'P':
      port = optarg;
      break;
    default:
      return usage ();
    }
  size_t digits = strspn (port, "0123456789");
  long number = strtol (port, NULL, 10);
  if (optind != argc || port[digits] != '\0' || digits > 5 || number < 1 ||
      number > 65535)
    return usage ();
  signal (SIGPIPE, SIG_IGN);
  client_t client = { .socket = connect_any (host, port) };
  converse (&client);
  free (client.queue.bytes);
  close (client.socket);
  return EXIT_SUCCESS;
}
