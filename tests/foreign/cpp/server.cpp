// A sound echo server in C++: one thread, one poll(2), many clients at once.
//
// The lesson asks for clients in turn. A server that serves them side by side
// keeps that contract too, and no case may say otherwise. What a client has
// sent and not yet got back is bounded: while its buffer holds something,
// nothing more is read from it.

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <netdb.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds finish_time{1000};
constexpr milliseconds quiet_time{100};
constexpr milliseconds accept_pause{100};

class Descriptor {
public:
    explicit Descriptor(int number = -1) : number_{number} {}
    ~Descriptor() { reset(); }
    Descriptor(Descriptor &&other) noexcept
        : number_{std::exchange(other.number_, -1)} {}
    Descriptor &operator=(Descriptor &&other) noexcept
    {
        std::swap(number_, other.number_);
        return *this;
    }
    int number() const { return number_; }
    void reset()
    {
        if (number_ != -1)
            close(number_);
        number_ = -1;
    }

private:
    int number_;
};

[[noreturn]] void fail(const std::string &what)
{
    throw std::system_error(errno, std::generic_category(), what);
}

struct Options {
    const char *host = nullptr;
    std::string port = "8080";
};

[[noreturn]] void usage()
{
    std::fputs("usage: server [-H HOST] [-P PORT]\n", stderr);
    std::exit(2);
}

Options parse_options(int argc, char *argv[])
{
    Options options;
    for (int option; (option = getopt(argc, argv, "H:P:")) != -1;) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P')
            options.port = optarg;
        else
            usage();
    }
    const bool digits =
        options.port.find_first_not_of("0123456789") == std::string::npos;
    if (optind != argc || !digits || options.port.empty() ||
        options.port.size() > 5 || std::stoi(options.port) > 65535)
        usage();
    return options;
}

Descriptor open_listener(const Options &options)
{
    addrinfo hints{};
    hints.ai_family = options.host == nullptr ? AF_INET : AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo *list = nullptr;
    const int error =
        getaddrinfo(options.host, options.port.c_str(), &hints, &list);
    if (error != 0)
        throw std::runtime_error(std::string("resolve: ") +
                                 gai_strerror(error));
    const addrinfo address = *list;
    sockaddr_storage where{};
    std::memcpy(&where, address.ai_addr, address.ai_addrlen);
    freeaddrinfo(list);

    Descriptor listener{socket(address.ai_family,
                               SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (listener.number() == -1)
        fail("socket");
    const int yes = 1;
    if (setsockopt(listener.number(), SOL_SOCKET, SO_REUSEADDR, &yes,
                   sizeof yes) == -1)
        fail("setsockopt");
    if (bind(listener.number(), reinterpret_cast<sockaddr *>(&where),
             address.ai_addrlen) == -1)
        fail("bind port " + options.port);
    if (listen(listener.number(), SOMAXCONN) == -1)
        fail("listen");
    return listener;
}

// SIGINT and SIGTERM are blocked and read from a descriptor: see signalfd(2).
Descriptor open_signals()
{
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &stops, nullptr) == -1)
        fail("sigprocmask");
    Descriptor signals{signalfd(-1, &stops, SFD_NONBLOCK | SFD_CLOEXEC)};
    if (signals.number() == -1)
        fail("signalfd");
    return signals;
}

bool is_passing(int error)
{
    return error == EAGAIN || error == EINTR;
}

class Client {
public:
    explicit Client(Descriptor &&connection)
        : connection_{std::move(connection)} {}

    pollfd wanted() const
    {
        const auto events = unsent_.empty() ? POLLIN : POLLOUT;
        return {connection_.number(), static_cast<short>(events), 0};
    }
    bool is_busy() const { return !unsent_.empty(); }

    // Moves bytes on; false at the end of the stream and after an error.
    bool go_on()
    {
        if (unsent_.empty()) {
            char piece[4096];
            const ssize_t got =
                recv(connection_.number(), piece, sizeof piece, 0);
            if (got == -1)
                return is_passing(errno);
            if (got == 0)
                return false;
            unsent_.assign(piece, static_cast<std::size_t>(got));
        }
        const ssize_t sent = send(connection_.number(), unsent_.data(),
                                  unsent_.size(), MSG_NOSIGNAL);
        if (sent == -1)
            return is_passing(errno);
        unsent_.erase(0, static_cast<std::size_t>(sent));
        return true;
    }

private:
    Descriptor connection_;
    std::string unsent_;
};

class Server {
public:
    Server(Descriptor &&listener, Descriptor &&signals)
        : listener_{std::move(listener)}, signals_{std::move(signals)} {}

    void run()
    {
        while (!is_over())
            go_round();
    }

private:
    bool is_stopping() const { return listener_.number() == -1; }

    // After a signal: once nothing came for a while, or after a second.
    bool is_over() const
    {
        if (!is_stopping())
            return false;
        bool busy = Clock::now() < last_move_ + quiet_time && moved_;
        for (const Client &client : clients_)
            busy = busy || client.is_busy();
        return clients_.empty() || !busy || Clock::now() >= deadline_;
    }

    int time_limit() const
    {
        if (is_stopping()) {
            const auto end = moved_ && last_move_ + quiet_time < deadline_
                                 ? last_move_ + quiet_time
                                 : deadline_;
            const auto left = end - Clock::now();
            const auto rounded =
                std::chrono::duration_cast<milliseconds>(left).count() + 1;
            return rounded > 0 ? static_cast<int>(rounded) : 0;
        }
        return paused_ ? static_cast<int>(accept_pause.count()) : -1;
    }

    void go_round()
    {
        std::vector<pollfd> wanted{
            {is_stopping() ? -1 : signals_.number(), POLLIN, 0},
            {paused_ ? -1 : listener_.number(), POLLIN, 0}};
        for (const Client &client : clients_)
            wanted.push_back(client.wanted());
        if (poll(wanted.data(), wanted.size(), time_limit()) == -1) {
            if (errno == EINTR)
                return;
            fail("poll");
        }
        paused_ = false;
        for (std::size_t i = clients_.size(); i-- > 0;) {
            if (wanted[i + 2].revents == 0)
                continue;
            moved_ = true;
            last_move_ = Clock::now();
            if (!clients_[i].go_on())
                clients_.erase(clients_.begin() +
                               static_cast<std::ptrdiff_t>(i));
        }
        if (wanted[1].revents != 0)
            take_client();
        if (wanted[0].revents != 0)
            stop();
    }

    void take_client()
    {
        Descriptor connection{accept4(listener_.number(), nullptr, nullptr,
                                      SOCK_NONBLOCK | SOCK_CLOEXEC)};
        if (connection.number() != -1) {
            clients_.emplace_back(std::move(connection));
            return;
        }
        if (is_passing(errno) || errno == ECONNABORTED)
            return;
        std::fprintf(stderr, "server: accept: %s\n", std::strerror(errno));
        paused_ = true;
    }

    // What the clients had sent before the signal is answered still.
    void stop()
    {
        listener_.reset();
        deadline_ = Clock::now() + finish_time;
        moved_ = false;
        std::vector<pollfd> wanted;
        for (const Client &client : clients_)
            wanted.push_back(client.wanted());
        if (!wanted.empty() && poll(wanted.data(), wanted.size(), 0) > 0) {
            moved_ = true;
            last_move_ = Clock::now();
        }
    }

    Descriptor listener_;
    Descriptor signals_;
    std::vector<Client> clients_;
    bool paused_ = false;
    bool moved_ = false;
    Clock::time_point last_move_{};
    Clock::time_point deadline_{};
};

} // namespace

int main(int argc, char *argv[])
{
    const Options options = parse_options(argc, argv);
    try {
        Descriptor signals = open_signals();
        Server server{open_listener(options), std::move(signals)};
        server.run();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "server: %s\n", error.what());
        return 1;
    }
    return 0;
}
