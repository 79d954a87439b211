/* framedelay IN OUT MS [JITTER]: a slow cable between two network interfaces.
 *
 * Frames that arrive at IN leave at OUT, MS ± JITTER milliseconds later and in their
 * order; frames that arrive at OUT leave at IN at once. Both are ends of veth pairs that
 * belong to nobody else. The kernel here has no netem; it has packet sockets.
 *
 * Frames travel with their virtio header, so that checksums that the kernel left for a
 * network card to fill in, and segments larger than a frame, arrive as they left. */

#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX (sizeof(struct virtio_net_hdr) + 65536 + 64)
/* What does not fit is lost, as on a real cable with a full queue before it. */
#define QUEUE_MAX (64u << 20)

struct frame
{
    struct frame *next;
    uint64_t due_us;
    size_t length;
    unsigned char bytes[];
};

static struct frame *first, **end = &first;
static size_t queued;
static uint64_t last_due_us, random_state;

static void die(const char *what, const char *name)
{
    fprintf(stderr, "framedelay: %s %s: %s\n", what, name, strerror(errno));
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* xorshift: spread is all that is asked of it. */
static uint64_t draw(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return below ? random_state % below : 0;
}

static int open_port(const char *name)
{
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    struct packet_mreq promiscuous = {.mr_type = PACKET_MR_PROMISC};
    int on = 1, size = 32 << 20;
    int fd = socket(AF_PACKET, SOCK_RAW, 0);

    at.sll_ifindex = (int)if_nametoindex(name);
    promiscuous.mr_ifindex = at.sll_ifindex;
    if (fd < 0 || at.sll_ifindex == 0) {
        die("cannot open", name);
    }
    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous,
                   sizeof(promiscuous)) != 0) {
        die("cannot set up", name);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        die("cannot bind to", name);
    }
    return fd;
}

static void keep(const unsigned char *bytes, size_t length, uint64_t delay_us,
                 uint64_t jitter_us)
{
    struct frame *frame;
    uint64_t due_us = now_us() + delay_us - jitter_us + draw(2 * jitter_us + 1);

    if (queued + length > QUEUE_MAX || !(frame = malloc(sizeof(*frame) + length))) {
        return;
    }
    if (due_us < last_due_us) {
        due_us = last_due_us; /* In order. */
    }
    last_due_us = due_us;
    frame->next = NULL;
    frame->due_us = due_us;
    frame->length = length;
    memcpy(frame->bytes, bytes, length);
    *end = frame;
    end = &frame->next;
    queued += length;
}

/* A frame that the interface does not take (it is down) is lost. */
static void pass(int fd, const unsigned char *bytes, size_t length)
{
    if (write(fd, bytes, length) < 0 && errno != ENETDOWN && errno != EINVAL) {
        fprintf(stderr, "framedelay: a frame of %zu bytes: %s\n", length,
                strerror(errno));
    }
}

static void pass_due(int fd)
{
    while (first && first->due_us <= now_us()) {
        struct frame *frame = first;

        first = frame->next;
        if (!first) {
            end = &first;
        }
        queued -= frame->length;
        pass(fd, frame->bytes, frame->length);
        free(frame);
    }
}

/* Until the next frame is due; for ever if none waits. */
static const struct timespec *patience(struct timespec *ret_time)
{
    uint64_t now = now_us(), wait;

    if (!first) {
        return NULL;
    }
    wait = first->due_us > now ? first->due_us - now : 0;
    ret_time->tv_sec = (time_t)(wait / 1000000);
    ret_time->tv_nsec = (long)(wait % 1000000) * 1000;
    return ret_time;
}

/* An interface went down, and may come up again, or is gone for good. */
static void clear_error(int fd)
{
    struct sockaddr_ll at;
    socklen_t length = sizeof(at);
    int error;

    if (getsockname(fd, (struct sockaddr *)&at, &length) != 0 || at.sll_ifindex <= 0) {
        exit(0);
    }
    length = sizeof(error);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
}

int main(int argc, char **argv)
{
    static unsigned char bytes[FRAME_MAX];
    struct pollfd ports[2];
    struct timespec time;
    uint64_t delay_us, jitter_us;

    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: framedelay IN OUT MS [JITTER]\n");
        return 2;
    }
    delay_us = strtoul(argv[3], NULL, 10) * 1000;
    jitter_us = argc > 4 ? strtoul(argv[4], NULL, 10) * 1000 : 0;
    if (jitter_us > delay_us) {
        jitter_us = delay_us;
    }
    random_state = now_us() | 1;
    for (int i = 0; i < 2; i++) {
        ports[i] = (struct pollfd){.fd = open_port(argv[1 + i]), .events = POLLIN};
    }
    for (;;) {
        ssize_t n;

        if (ppoll(ports, 2, patience(&time), NULL) < 0 && errno != EINTR) {
            die("cannot wait for", "frames");
        }
        pass_due(ports[1].fd);
        while ((n = recv(ports[0].fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
            keep(bytes, (size_t)n, delay_us, jitter_us);
        }
        while ((n = recv(ports[1].fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
            pass(ports[0].fd, bytes, (size_t)n);
        }
        if ((ports[0].revents | ports[1].revents) & POLLERR) {
            clear_error(ports[0].fd);
            clear_error(ports[1].fd);
        }
    }
}
