/* send: submit a command under an id of our own, and see it through.
 *
 * The id exists before anything leaves, so asking again, also another node, is the
 * same command: whatever goes wrong on the way, it is accepted once or not at all. */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "cli/cli.h"

enum {
    ID_LEN = 16, /* Characters of 5 bits: 80 random bits. */
    ID_MAX = 63,
    TEXT_MAX = 63,
    ATTEMPT_MS = 3000, /* One node's share, if there are others to try. */
    PAUSE_MIN_MS = 50,
    PAUSE_MAX_MS = 1000,
    /* One round of waiting: the longest a node that froze can keep us. */
    AWAIT_MS = 5000,
    AWAIT_SLACK_MS = 1000,
    /* After its deadline the leader ends a command; give it time to say so. */
    DEADLINE_SLACK_MS = 5000,
    COMMAND_TIMEOUT_DEFAULT_MS = 60000
};

struct sending
{
    const struct ct_options *opt;
    struct ct_client client;
    struct ct_out out;
    struct ct_reply reply;
    char id[ID_MAX + 1];
    char property[TEXT_MAX + 1];
    char value[TEXT_MAX + 1];
    uint64_t start_ms;
    bool unclear; /* It may have been accepted although nobody said so. */
};

static bool random_id(char *to)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    uint8_t raw[ID_LEN];

    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw) {
        ct_complain("no random numbers: %s; give an --id", strerror(errno));
        return false;
    }
    for (unsigned i = 0; i < ID_LEN; i++) {
        to[i] = digits[raw[i] & 31];
    }
    to[ID_LEN] = '\0';
    return true;
}

static bool copy_id(char *to, const char *id)
{
    size_t n = strlen(id);

    if (n == 0 || n > ID_MAX) {
        ct_complain("--id: needs 1 to %d characters", ID_MAX);
        return false;
    }
    memcpy(to, id, n + 1);
    return true;
}

static bool split_setting(struct sending *s, const char *text)
{
    const char *equals = strchr(text, '=');
    size_t n = equals != NULL ? (size_t)(equals - text) : 0;

    if (n == 0 || n > TEXT_MAX || equals[1] == '\0' || strlen(equals + 1) > TEXT_MAX) {
        ct_complain(
            "send: needs PROPERTY=VALUE (each at most %d characters), for example "
            "state=ON",
            TEXT_MAX);
        return false;
    }
    memcpy(s->property, text, n);
    s->property[n] = '\0';
    memcpy(s->value, equals + 1, strlen(equals + 1) + 1);
    /* Zigbee2MQTT wants capitals, people do not think of it. */
    if (strcasecmp(s->value, "on") == 0 || strcasecmp(s->value, "off") == 0) {
        for (char *c = s->value; *c != '\0'; c++) {
            *c = (char)(*c & ~0x20);
        }
    }
    return true;
}

static unsigned since_start(const struct sending *s)
{
    return (unsigned)(ct_now_ms() - s->start_ms);
}

/* Stages appear as they happen; in JSON only the end does. */
static void flush_stage(struct sending *s)
{
    if (!s->opt->json) {
        (void)ct_out_flush(&s->out); /* The command is what matters, not the pipe. */
    }
}

static void pack(const struct sending *s, struct sy_buf *b)
{
    const struct ct_options *opt = s->opt;

    sy_mp_map(b, 5U + (opt->area != NULL) + (opt->command_timeout_ms > 0));
    sy_mp_kstr(b, "device", opt->args[0]);
    sy_mp_kstr(b, "property", s->property);
    sy_mp_kstr(b, "value", s->value);
    sy_mp_kstr(b, "id", s->id);
    sy_mp_kstr(b, "source", "cli");
    if (opt->area != NULL) {
        sy_mp_kstr(b, "area", opt->area);
    }
    if (opt->command_timeout_ms > 0) {
        sy_mp_kuint(b, "timeout_ms", opt->command_timeout_ms);
    }
}

static void pause_ms(uint64_t ms)
{
    (void)poll(NULL, 0, (int)ms); /* A signal ends it early. */
}

static bool may_be_accepted(const struct ct_reply *r)
{
    if (r->answer == CT_NONE) {
        return r->sent;
    }
    return strcmp(r->code, "timeout") == 0 || strcmp(r->code, "unknown_outcome") == 0;
}

/* True: accepted, or already there. */
static bool submit(struct sending *s)
{
    uint64_t deadline_ms = s->start_ms + s->opt->timeout_ms;
    unsigned pause = PAUSE_MIN_MS;
    unsigned socket = 0;
    struct sy_buf args = {0};
    char told[CT_CODE_SIZE] = "";

    pack(s, &args);
    for (;;) {
        uint64_t now = ct_now_ms();
        uint64_t left = now < deadline_ms ? deadline_ms - now : 1;
        bool others = s->client.sockets->n > 1;
        unsigned share = others && left > ATTEMPT_MS ? ATTEMPT_MS : (unsigned)left;

        ct_ask_one(&s->client, socket, "send", &args, share, &s->reply);
        s->unclear |= may_be_accepted(&s->reply);
        if (!ct_may_retry(&s->reply) || ct_interrupted ||
            ct_now_ms() + pause >= deadline_ms) {
            break;
        }
        if (strcmp(told, s->reply.code) != 0) {
            snprintf(told, sizeof told, "%s", s->reply.code);
            ct_complain("%s: %s (trying again with the same id)", told,
                        (const char *)s->reply.text.p);
        }
        socket = (socket + 1) % s->client.sockets->n;
        if (socket == 0) { /* Once round. */
            pause_ms(pause);
            pause = 2 * pause < PAUSE_MAX_MS ? 2 * pause : PAUSE_MAX_MS;
        }
    }
    sy_buf_free(&args);
    return s->reply.answer == CT_OK;
}

static bool ended(struct ct_val command)
{
    static const char *const ends[] = {"confirmed", "failed", "expired", "superseded",
                                       "cancelled"};

    for (unsigned i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (ct_str_is(ct_str(command, "status"), ends[i])) {
            return true;
        }
    }
    return false;
}

static struct ct_val command_of(const struct sending *s)
{
    return ct_get(s->reply.result, "command");
}

static void await_once(struct sending *s, unsigned timeout_ms)
{
    struct sy_buf args = {0};

    sy_mp_map(&args, 2);
    sy_mp_kstr(&args, "id", s->id);
    sy_mp_kuint(&args, "timeout_ms", timeout_ms);
    ct_ask_one(&s->client, s->client.at, "await", &args, timeout_ms + AWAIT_SLACK_MS,
               &s->reply);
    sy_buf_free(&args);
}

/* Until the command has ended, or long enough after it must have. A node that
 * applies late says not_found for a moment; another one that died is left. */
static bool see_through(struct sending *s)
{
    uint64_t life = s->opt->command_timeout_ms > 0 ? s->opt->command_timeout_ms
                                                   : COMMAND_TIMEOUT_DEFAULT_MS;
    uint64_t deadline_ms = ct_now_ms() + life + DEADLINE_SLACK_MS;

    while (!(s->reply.answer == CT_OK && ended(command_of(s)))) {
        uint64_t now = ct_now_ms();

        if (ct_interrupted || now >= deadline_ms) {
            return false;
        }
        await_once(
            s, deadline_ms - now < AWAIT_MS ? (unsigned)(deadline_ms - now) : AWAIT_MS);
        if (s->reply.answer != CT_OK && !ct_interrupted) {
            s->client.at = (s->client.at + 1) % s->client.sockets->n;
            pause_ms(PAUSE_MIN_MS);
        }
    }
    return true;
}

static void say_accepted(struct sending *s)
{
    struct ct_val c = command_of(s);

    if (ct_str_is(ct_str(c, "status"), "accepted")) {
        ct_fmt(&s->out, "accepted in %u ms\n", since_start(s));
    } else {
        ct_put(&s->out, "known already: ");
        if (s->opt->no_wait || !ended(c)) {
            ct_say(&s->out, ct_str(c, "status"));
            ct_put(&s->out, "\n");
        } /* Else say_end() goes on with the line. */
    }
    flush_stage(s);
}

/* Counted back from the end by the leader's clock: nobody told us when it left. */
static void say_sent(struct sending *s)
{
    struct ct_val c = command_of(s);
    uint64_t sent_ms = ct_uint(c, "sent_ms");
    uint64_t ended_ms = ct_uint(c, "ended_ms");
    unsigned now = since_start(s);

    if (sent_ms > 0 && ended_ms >= sent_ms && ended_ms - sent_ms <= now) {
        ct_fmt(&s->out, "sent in %u ms\n", now - (unsigned)(ended_ms - sent_ms));
    }
}

static int say_end(struct sending *s, bool fresh)
{
    struct ct_val c = command_of(s);
    struct ct_str status = ct_str(c, "status");
    bool confirmed = ct_str_is(status, "confirmed");
    uint64_t attempts = ct_uint(c, "attempts");

    ct_colour(&s->out, confirmed ? CT_GREEN : CT_RED);
    ct_say(&s->out, status);
    ct_colour(&s->out, CT_PLAIN);
    if (fresh) {
        ct_fmt(&s->out, " in %u ms", since_start(s));
    }
    ct_fmt(&s->out, " after %" PRIu64 " attempt%s", attempts, attempts == 1 ? "" : "s");
    if (!confirmed && ct_str(c, "reason").n > 0) {
        ct_put(&s->out, ": ");
        ct_say(&s->out, ct_str(c, "reason"));
    }
    ct_put(&s->out, "\n");
    return confirmed ? CT_DONE : CT_FAILED;
}

static int give_up(const struct sending *s)
{
    if (ct_interrupted) {
        ct_complain("interrupted; the command goes on: vagtctl command %s", s->id);
    } else if (s->reply.answer == CT_OK) {
        ct_complain(
            "it has not ended although its deadline is over; is anybody on watch? "
            "See: vagtctl command %s",
            s->id);
    } else {
        ct_complain("%s; it was accepted and goes on: vagtctl command %s",
                    (const char *)s->reply.text.p, s->id);
    }
    return CT_FAILED;
}

static int not_accepted(struct sending *s)
{
    int rv = ct_fail_reply(s->opt, &s->out, &s->reply);

    if (s->unclear) {
        ct_complain(
            "the command may have been accepted all the same: see `vagtctl command "
            "%s`, or repeat with --id %s, which never switches twice",
            s->id, s->id);
    } else {
        ct_complain("the command was not accepted");
    }
    return rv;
}

static int run(struct sending *s)
{
    bool fresh;
    int rv;

    if (!submit(s)) {
        return not_accepted(s);
    }
    if (command_of(s).m.type != SY_MP_MAP) {
        ct_complain("the node's answer holds no command");
        return CT_FAILED;
    }
    fresh = !ended(command_of(s));
    if (!s->opt->json) {
        say_accepted(s);
    }
    if (!s->opt->no_wait && !see_through(s)) {
        return give_up(s);
    }
    if (s->opt->json) {
        rv = ct_print_json(&s->out, s->reply.result);
        if (rv == CT_DONE && !s->opt->no_wait &&
            !ct_str_is(ct_str(command_of(s), "status"), "confirmed")) {
            rv = CT_FAILED;
        }
        return rv;
    }
    if (s->opt->no_wait) {
        return CT_DONE;
    }
    if (fresh) {
        say_sent(s);
    }
    return say_end(s, fresh);
}

int ct_cmd_send(const struct ct_options *opt)
{
    struct sending s = {.opt = opt};
    int rv;

    if (!split_setting(&s, opt->args[1]) ||
        (opt->id != NULL && !copy_id(s.id, opt->id))) {
        return CT_USAGE;
    }
    if (opt->id == NULL && !random_id(s.id)) {
        return CT_FAILED;
    }
    ct_catch_signals();
    ct_client_init(&s.client, &opt->sockets);
    ct_out_init(&s.out);
    if (!opt->json) {
        ct_say(&s.out, ct_lit(opt->args[0]));
        ct_put(&s.out, ": ");
        ct_say(&s.out, ct_lit(s.property));
        ct_put(&s.out, "=");
        ct_say(&s.out, ct_lit(s.value));
        ct_put(&s.out, ", id ");
        ct_say(&s.out, ct_lit(s.id));
        ct_put(&s.out, "\n");
        flush_stage(&s);
    }
    s.start_ms = ct_now_ms();
    rv = run(&s);
    if (!ct_out_flush(&s.out) && rv == CT_DONE) {
        rv = CT_FAILED;
    }
    ct_reply_free(&s.reply);
    ct_client_free(&s.client);
    ct_out_free(&s.out);
    return rv;
}
