/* What is in an answer, and what commands do with it. No sockets. */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

void ct_reply_free(struct ct_reply *r)
{
    sy_buf_free(&r->raw);
    sy_buf_free(&r->text);
    *r = (struct ct_reply){0};
}

bool ct_may_retry(const struct ct_reply *r)
{
    static const char *const codes[] = {"not_leader",  "no_quorum", "no_watch",
                                        "busy",        "timeout",   "unknown_outcome",
                                        "unreachable", "damaged"};

    for (unsigned i = 0; r->answer != CT_OK && i < sizeof codes / sizeof codes[0]; i++) {
        if (strcmp(r->code, codes[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool ct_cannot_lead(const struct ct_reply *r)
{
    return r->answer == CT_ERROR &&
           (strcmp(r->code, "not_leader") == 0 || strcmp(r->code, "no_quorum") == 0 ||
            strcmp(r->code, "no_watch") == 0);
}

static void take_error(struct ct_reply *r, struct ct_val error, const char *endpoint)
{
    struct ct_str code = ct_str(error, "code");
    struct ct_str text = ct_str(error, "text");
    struct sy_buf safe = {0};

    ct_escape(&safe, code);
    snprintf(r->code, sizeof r->code, "%.*s", (int)safe.len,
             safe.len > 0 ? (char *)safe.p : "");
    sy_buf_free(&safe);
    r->answer = CT_ERROR;
    if (r->code[0] == '\0') {
        snprintf(r->code, sizeof r->code, "internal");
    }
    if (text.n > 0) {
        ct_escape(&r->text, text);
    } else {
        sy_buf_fmt(&r->text, "the node at %s gave no reason", endpoint);
    }
    sy_buf_u8(&r->text, 0);
}

int ct_reply_take(struct ct_reply *r, uint64_t id, const char *endpoint)
{
    struct ct_val v;

    if (!ct_val_of(&v, r->raw.p, r->raw.len) || v.m.type != SY_MP_MAP ||
        ct_get(v, "ok").m.type != SY_MP_BOOL) {
        return SY_ECORRUPT;
    }
    if (ct_uint(v, "id") != id) {
        return 0;
    }
    r->node = ct_uint(v, "node");
    if (ct_bool(v, "ok")) {
        r->answer = CT_OK;
        r->result = ct_get(v, "result");
    } else {
        take_error(r, ct_get(v, "error"), endpoint);
    }
    return 1;
}

/* --- what commands do with it --- */

static int exit_of(const struct ct_reply *r)
{
    if (r->answer == CT_NONE) {
        return strcmp(r->code, "unreachable") == 0 ? CT_UNREACHABLE : CT_FAILED;
    }
    return ct_cannot_lead(r) ? CT_NO_LEADER : CT_FAILED;
}

int ct_fail_reply(const struct ct_options *opt, struct ct_out *o,
                  const struct ct_reply *r)
{
    const char *text = (const char *)r->text.p;

    assert(r->answer != CT_OK);
    if (opt->json) {
        struct sy_json j;

        sy_json_init(&j, &o->b);
        sy_json_object(&j);
        sy_json_key(&j, "error");
        sy_json_object(&j);
        sy_json_kstr(&j, "code", r->code);
        sy_json_kstr(&j, "text", text);
        sy_json_object_end(&j);
        sy_json_object_end(&j);
        sy_json_finish(&j);
        ct_put(o, "\n");
        (void)ct_out_flush(o); /* It fails already. */
    }
    if (r->answer == CT_ERROR) {
        ct_complain("%s: %s", r->code, text);
    } else {
        ct_complain("%s", text);
    }
    return exit_of(r);
}

int ct_print_json(struct ct_out *o, struct ct_val v)
{
    struct sy_cur c = v.start;

    /* Whole replies are checked on arrival; only odd keys can still go wrong. */
    if (v.m.type == SY_MP_BAD || sy_json_from_mp(&o->b, &c) != 0) {
        ct_complain("the node's answer cannot be said in JSON");
        return CT_FAILED;
    }
    ct_put(o, "\n");
    return CT_DONE;
}

int ct_simple(const struct ct_options *opt, const char *op, const struct sy_buf *args,
              ct_view view)
{
    struct ct_client c;
    struct ct_reply r = {0};
    struct ct_out o;
    int rv;

    ct_client_init(&c, &opt->sockets);
    ct_out_init(&o);
    ct_ask(&c, op, args, opt->timeout_ms, &r);
    if (r.answer != CT_OK) {
        rv = ct_fail_reply(opt, &o, &r);
    } else {
        rv = view(&o, opt, &r);
    }
    if (!ct_out_flush(&o)) {
        rv = CT_FAILED;
    }
    ct_reply_free(&r);
    ct_client_free(&c);
    ct_out_free(&o);
    return rv;
}
