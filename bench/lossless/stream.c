/* Numbered messages at a steady rate until SIGTERM, and a file that says, as they come,
 * which of them the broker acknowledged: what was written there has been acknowledged,
 * whatever becomes of this process. A line is "microseconds first-last", on the
 * monotonic clock; what was acknowledged in one turn of the loop is one line, or more if
 * there are holes. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/lossless/lossless.h"

struct notes
{
    int fd;
    uint32_t first; /* The run that is not written yet. */
    uint32_t n;
    char text[65536];
    size_t len;
};

static volatile sig_atomic_t told_to_stop;

static void on_signal(int number)
{
    (void)number;
    told_to_stop = 1;
}

static void flush_text(struct notes *x)
{
    size_t done = 0;

    while (done < x->len) {
        ssize_t n = write(x->fd, x->text + done, x->len - done);

        if (n < 0) {
            ll_die("the file of acknowledgements cannot be written");
        }
        done += (size_t)n;
    }
    x->len = 0;
}

static void end_run(struct notes *x)
{
    if (x->n == 0) {
        return;
    }
    if (sizeof x->text - x->len < 80) {
        flush_text(x);
    }
    x->len +=
        (size_t)snprintf(x->text + x->len, 80, "%llu %u-%u\n",
                         (unsigned long long)ll_now_us(), x->first, x->first + x->n - 1);
    x->n = 0;
}

static void on_acked(void *ctx, uint32_t k)
{
    struct notes *x = ctx;

    if (x->n > 0 && k != x->first + x->n) {
        end_run(x);
    }
    x->first = x->n == 0 ? k : x->first;
    x->n++;
}

static uint64_t due_us(const struct ll_load *l, uint64_t began)
{
    return began + (uint64_t)(l->published * 1e6 / l->opt->rate);
}

/* Never more than the window ahead of the acknowledgements, and never ahead of time. */
static void run(struct ll_load *l, struct notes *x)
{
    uint64_t began = ll_now_us();
    uint64_t until = 0;

    for (;;) {
        uint64_t now = ll_now_us();
        uint64_t due = due_us(l, began);

        if (told_to_stop || l->published == l->opt->messages) {
            until = until != 0 ? until : now + l->opt->patience_s * 1000000ULL;
            if (l->acked_n + l->refused == l->published || now > until) {
                return;
            }
        }
        for (unsigned i = 0; i < 256 && until == 0 && due <= now; i++) {
            if (!ll_load_publish(l)) {
                due = now + 1000;
            } else {
                due = due_us(l, began);
            }
        }
        ll_load_turn(l, due > now);
        end_run(x);
        flush_text(x);
    }
}

int ll_stream(const struct ll_options *opt)
{
    static struct notes x;
    struct ll_load l;
    struct sigaction on_term = {.sa_handler = on_signal};

    if (opt->rate <= 0 || opt->acked == NULL || opt->messages == 0) {
        ll_die("stream needs --rate, --acked and --messages (at most so many)");
    }
    x.fd = open(opt->acked, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (x.fd < 0) {
        ll_die("%s cannot be written", opt->acked);
    }
    sigaction(SIGTERM, &on_term, NULL);
    sigaction(SIGINT, &on_term, NULL);
    ll_load_open(&l, opt);
    l.on_acked = on_acked;
    l.ctx = &x;
    if (!opt->running) {
        ll_load_announce(&l);
    }
    printf("started: base_ms %llu\n", (unsigned long long)l.base_ms);
    fflush(stdout);
    run(&l, &x);
    printf(
        "published %u, acknowledged %u (%u of them with no subscriber), refused %u, "
        "reconnects %u\n",
        l.published, l.acked_n, l.unheard, l.refused, l.reconnects);
    close(x.fd);
    ll_load_close(&l);
    return l.acked_n == l.published ? 0 : 1;
}
