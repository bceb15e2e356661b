/* A server whose stalls are known: it does nothing while (monotonic time mod period) < stall.
 *
 * stallserver serve PORT STALL_MS PERIOD_MS    epoll, HTTP/1.1 keep-alive, one answer
 * stallserver probe PORT COUNT GAP_US          blocking client: prints the median round trip in microseconds
 *                                              of requests outside the stalls
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello world\n";

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void sleep_until(double us) {
    struct timespec t = {(time_t)(us / 1e6), (long)((us - (double)(time_t)(us / 1e6) * 1e6) * 1e3)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

static struct sockaddr_in local(int port) {
    struct sockaddr_in a = {0};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static int serve(int port, double stall_us, double period_us) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
    struct sockaddr_in a = local(port);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[64];
    char buffer[65536];
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&a, sizeof a) || listen(listener, 4096)) {
        perror("stallserver");
        return 1;
    }
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(poll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd, requests = 0;
            if (stall_us > 0) {
                double now = now_us();
                double phase = now - (double)(long long)(now / period_us) * period_us;
                if (phase < stall_us) sleep_until(now + stall_us - phase);
            }
            if (fd == listener) {
                int c;
                while ((c = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    event.data.fd = c;
                    epoll_ctl(poll, EPOLL_CTL_ADD, c, &event);
                }
                continue;
            }
            ssize_t got = read(fd, buffer, sizeof buffer - 1);
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN) continue;
                close(fd);
                continue;
            }
            buffer[got] = 0;
            for (char *p = buffer; (p = strstr(p, "\r\n\r\n")); p += 4) requests++;
            while (requests-- > 0)
                if (write(fd, answer, sizeof answer - 1) < 0) break;
        }
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int probe(int port, int count, double gap_us) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = local(port);
    char buffer[4096];
    double *took = calloc(count, sizeof *took), next = now_us();
    if (connect(fd, (void *)&a, sizeof a)) {
        perror("stallserver probe");
        return 1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (int i = 0; i < count; i++) {
        sleep_until(next += gap_us);
        double began = now_us();
        if (write(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27) != 27 || read(fd, buffer, sizeof buffer) <= 0) return 1;
        took[i] = now_us() - began;
    }
    qsort(took, count, sizeof *took, ascending);
    printf("%.1f\n", took[count / 2]);
    return 0;
}

int main(int count, char **argument) {
    signal(SIGPIPE, SIG_IGN);
    if (count == 5 && !strcmp(argument[1], "serve"))
        return serve(atoi(argument[2]), atof(argument[3]) * 1e3, atof(argument[4]) * 1e3);
    if (count == 5 && !strcmp(argument[1], "probe")) return probe(atoi(argument[2]), atoi(argument[3]), atof(argument[4]));
    fputs("usage: stallserver serve PORT STALL_MS PERIOD_MS | probe PORT COUNT GAP_US\n", stderr);
    return 2;
}
