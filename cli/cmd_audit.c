/* audit: who changed what; whether the chain holds, here and in a file. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mp.h"
#include "cli/cli.h"
#include "replication/audit.h"

enum { PAGE = 500, LINE_MAX_SIZE = 8192, HEX = 2 * SY_SHA256_SIZE };

static const char record_key[] = ",\"record\":\"";

/* --- list --- */

static int view_list(struct ct_out *o, const struct ct_options *opt,
                     const struct ct_reply *r)
{
    static const struct ct_column columns[] = {
        {"NR", true, false},    {"AGE", true, false},   {"WHO", false, false},
        {"FROM", false, true},  {"WHAT", false, false}, {"ABOUT", false, true},
        {"RESULT", false, true}};
    static const char *const texts[] = {"who", "from", "what", "about", "result"};
    struct ct_iter it = ct_iterate(ct_get(r->result, "records"));
    uint64_t now = ct_wall_ms();
    struct ct_table t;
    struct ct_val a;

    if (opt->json) {
        return ct_print_json(o, r->result);
    }
    if (it.left == 0) {
        ct_put(o, "No records.\n");
        return CT_DONE;
    }
    ct_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    while (ct_next(&it, &a)) {
        uint64_t at = ct_uint(a, "at_ms");

        ct_cell_uint(&t, a, "nr");
        if (at > 0) {
            ct_age(&t.text, now > at ? now - at : 0);
        } else {
            sy_buf_str(&t.text, "-");
        }
        ct_cell_end(&t, CT_PLAIN);
        for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            ct_cell_str(&t, ct_str(a, texts[i]), CT_PLAIN);
        }
    }
    ct_table_print(&t, o);
    ct_table_free(&t);
    return CT_DONE;
}

static int list(const struct ct_options *opt)
{
    struct sy_buf args = {0};
    int rv;

    sy_mp_map(&args, opt->who != NULL ? 2 : 1);
    sy_mp_kuint(&args, "limit", opt->limit != 0 ? opt->limit : 50);
    if (opt->who != NULL) {
        sy_mp_kstr(&args, "who", opt->who);
    }
    rv = ct_simple(opt, "audit", &args, view_list);
    sy_buf_free(&args);
    return rv;
}

/* --- a record as a line --- */

/* The same record gives the same line, byte for byte: so a line can be checked. */
static void put_line(struct sy_buf *b, const struct rp_audit *a,
                     const uint8_t before[static SY_SHA256_SIZE])
{
    struct sy_buf raw = {0};
    struct sy_json j;

    rp_audit_put(&raw, a);
    sy_json_init(&j, b);
    sy_json_object(&j);
    sy_json_kuint(&j, "nr", a->nr);
    sy_json_kuint(&j, "at_ms", a->at_ms);
    sy_json_kuint(&j, "node", a->node);
    sy_json_kstr(&j, "who", a->who);
    sy_json_kstr(&j, "from", a->from);
    sy_json_kstr(&j, "what", a->what);
    sy_json_kstr(&j, "about", a->about);
    sy_json_kstr(&j, "result", a->result);
    sy_json_key(&j, "before");
    sy_json_hex(&j, before, SY_SHA256_SIZE);
    sy_json_key(&j, "hash");
    sy_json_hex(&j, a->hash, SY_SHA256_SIZE);
    sy_json_key(&j, "record");
    sy_json_hex(&j, raw.p, raw.len);
    sy_json_object_end(&j);
    sy_json_finish(&j);
    sy_buf_free(&raw);
}

static bool unhex(const char *p, size_t n, uint8_t *to)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        const char *d = p[i] != '\0' ? strchr(digits, p[i]) : NULL;

        if (d == NULL) {
            return false;
        }
        to[i / 2] = (uint8_t)(i % 2 == 0 ? (d - digits) * 16 : to[i / 2] + (d - digits));
    }
    return n % 2 == 0;
}

static void text_of(struct ct_val v, const char *key, char *to, size_t size)
{
    struct ct_str s = ct_str(v, key);

    snprintf(to, size, "%.*s", (int)(s.n < size ? s.n : size - 1),
             s.p != NULL ? s.p : "");
}

static bool record_of(struct ct_val v, struct rp_audit *a, uint8_t *before)
{
    struct ct_str h = ct_str(v, "hash"), b = ct_str(v, "before");

    *a = (struct rp_audit){.nr = ct_uint(v, "nr"),
                           .at_ms = ct_uint(v, "at_ms"),
                           .node = (uint16_t)ct_uint(v, "node")};
    text_of(v, "who", a->who, sizeof a->who);
    text_of(v, "from", a->from, sizeof a->from);
    text_of(v, "what", a->what, sizeof a->what);
    text_of(v, "about", a->about, sizeof a->about);
    text_of(v, "result", a->result, sizeof a->result);
    return h.n == HEX && b.n == HEX && unhex(h.p, HEX, a->hash) &&
           unhex(b.p, HEX, before);
}

/* --- export --- */

/* The number of the last record written; 0: there are no more, or *@failed. */
static uint64_t export_page(const struct ct_options *opt, struct ct_client *c, FILE *f,
                            uint64_t after, int *failed)
{
    struct sy_buf args = {0};
    struct ct_out o;
    struct ct_reply r = {0};
    struct ct_iter it;
    struct ct_val v;
    uint64_t last = 0;

    sy_mp_map(&args, 2);
    sy_mp_kuint(&args, "limit", PAGE);
    sy_mp_kuint(&args, "after", after);
    ct_ask(c, "audit", &args, opt->timeout_ms, &r);
    sy_buf_free(&args);
    if (r.answer != CT_OK) {
        ct_out_init(&o);
        *failed = ct_fail_reply(opt, &o, &r);
        (void)ct_out_flush(&o);
        ct_out_free(&o);
        ct_reply_free(&r);
        return 0;
    }
    it = ct_iterate(ct_get(r.result, "records"));
    while (ct_next(&it, &v)) {
        uint8_t before[SY_SHA256_SIZE];
        struct sy_buf line = {0};
        struct rp_audit a;

        if (record_of(v, &a, before)) {
            put_line(&line, &a, before);
            sy_buf_u8(&line, '\n');
            (void)fwrite(line.p, 1, line.len, f);
            last = a.nr;
        }
        sy_buf_free(&line);
    }
    ct_reply_free(&r);
    return last;
}

static int export(const struct ct_options *opt, const char *path)
{
    FILE *f = fopen(path, "wxe");
    struct ct_client c;
    uint64_t after = 0, last = 0;
    int failed = CT_DONE;

    if (f == NULL) {
        fprintf(stderr, "vagtctl: %s: %s%s\n", path, strerror(errno),
                errno == EEXIST ? ": name another file; none is overwritten" : "");
        return CT_FAILED;
    }
    ct_client_init(&c, &opt->sockets);
    while ((last = export_page(opt, &c, f, after, &failed)) > after) {
        after = last;
    }
    ct_client_free(&c);
    if ((fflush(f) != 0 || ferror(f)) && failed == CT_DONE) {
        fprintf(stderr, "vagtctl: %s: it could not be written whole: is the disk full?\n",
                path);
        failed = CT_FAILED;
    }
    fclose(f);
    if (failed == CT_DONE && !opt->json) {
        printf("%s: up to record %" PRIu64 "; `vagtctl audit verify %s` checks it.\n",
               path, after, path);
    }
    return failed;
}

/* --- verify --- */

static int view_verify(struct ct_out *o, const struct ct_options *opt,
                       const struct ct_reply *r)
{
    uint64_t broken = ct_uint(r->result, "broken");

    if (opt->json) {
        (void)ct_print_json(o, r->result);
    } else if (broken != 0) {
        ct_fmt(o, "Record %" PRIu64 " is not what it was.\n", broken);
    } else {
        ct_fmt(o, "The chain holds: records %" PRIu64 " to %" PRIu64 ".\n",
               ct_uint(r->result, "first"), ct_uint(r->result, "last"));
    }
    return broken != 0 ? CT_FAILED : CT_DONE;
}

struct chain
{
    uint64_t lines, last;
    uint8_t hash[SY_SHA256_SIZE];
};

/* NULL: it is the next of the chain, and unchanged; else what is wrong. */
static const char *check_line(struct chain *ch, const char *line)
{
    const char *at = strstr(line, record_key), *more;
    uint8_t raw[RP_AUDIT_BYTES_MAX], before[SY_SHA256_SIZE];
    struct rp_audit a = {0};
    struct sy_buf again = {0};
    struct sy_cur c;
    const char *b = strstr(line, ",\"before\":\"");
    size_t n;
    bool same;

    while (at != NULL && (more = strstr(at + 1, record_key)) != NULL) {
        at = more;
    }
    while (b != NULL && (more = strstr(b + 1, ",\"before\":\"")) != NULL) {
        b = more;
    }
    n = at != NULL ? strcspn(at + sizeof record_key - 1, "\"") : 0;
    if (n == 0 || n / 2 > sizeof raw || !unhex(at + sizeof record_key - 1, n, raw) ||
        b == NULL || strlen(b) < 11 + HEX || !unhex(b + 11, HEX, before)) {
        return "it is no record";
    }
    c = (struct sy_cur){.p = raw, .n = n / 2};
    if (rp_audit_get(&c, &a) != 0 || c.n != 0) {
        return "it is no record";
    }
    if (ch->lines > 0 &&
        (a.nr != ch->last + 1 || memcmp(before, ch->hash, HEX / 2) != 0)) {
        return "it does not follow the one before";
    }
    rp_audit_hash(before, &a, a.hash);
    put_line(&again, &a, before);
    sy_buf_u8(&again, 0);
    same = strcmp((const char *)again.p, line) == 0;
    sy_buf_free(&again);
    ch->last = a.nr;
    memcpy(ch->hash, a.hash, sizeof ch->hash);
    ch->lines++;
    return same ? NULL : "it was changed";
}

static int verify_file(const char *path)
{
    FILE *f = fopen(path, "re");
    char line[LINE_MAX_SIZE];
    struct chain ch = {0};
    const char *wrong = NULL;

    if (f == NULL) {
        fprintf(stderr, "vagtctl: %s: %s\n", path, strerror(errno));
        return CT_FAILED;
    }
    while (wrong == NULL && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        wrong = check_line(&ch, line);
        if (wrong != NULL) {
            fprintf(stderr, "vagtctl: %s: after record %" PRIu64 ": the next line: %s\n",
                    path, ch.last, wrong);
        }
    }
    if (wrong == NULL) {
        printf("The chain holds: %" PRIu64 " records, up to %" PRIu64 ", last hash ",
               ch.lines, ch.last);
        for (unsigned i = 0; i < sizeof ch.hash; i++) {
            printf("%02x", ch.hash[i]);
        }
        puts(".");
    }
    fclose(f);
    return wrong == NULL ? CT_DONE : CT_FAILED;
}

int ct_cmd_audit(const struct ct_options *opt)
{
    const char *what = opt->args_n > 0 ? opt->args[0] : "list";
    struct sy_buf args = {0};
    int rv;

    if (strcmp(what, "list") == 0 && opt->args_n < 2) {
        return list(opt);
    }
    if (strcmp(what, "export") == 0 && opt->args_n == 2) {
        return export(opt, opt->args[1]);
    }
    if (strcmp(what, "verify") == 0 && opt->args_n == 2) {
        return verify_file(opt->args[1]);
    }
    if (strcmp(what, "verify") != 0 || opt->args_n > 2) {
        fprintf(stderr, "vagtctl: audit [list] | verify [FILE] | export FILE\n");
        return CT_USAGE;
    }
    sy_mp_map(&args, 2);
    sy_mp_kuint(&args, "limit", 1);
    sy_mp_kbool(&args, "verify", true);
    rv = ct_simple(opt, "audit", &args, view_verify);
    sy_buf_free(&args);
    return rv;
}
