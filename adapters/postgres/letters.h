/* The dead letters in Postgres, for `vagtctl deadletter`: blocking.
 *
 * new --replay()--> replay (the node on watch puts a message through its source once
 *   |               more) --> replayed
 *   +-- a row is put back at once --> replayed */

#ifndef AD_POSTGRES_LETTERS_H
#define AD_POSTGRES_LETTERS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Borrowed until the callback returns. Texts may be empty, never NULL. */
struct ad_pg_letter
{
    uint64_t id, seq;
    const char *cluster, *kind, *area, *topic, *reason, *status;
    uint64_t at_ms, created_ms, replayed_ms; /* 0: never */
    size_t size;                             /* of the payload */
    const uint8_t *payload;                  /* NULL in lists */
};

/* What became of those that were to be replayed. */
struct ad_pg_replayed
{
    uint64_t asked;   /* of the node on watch */
    uint64_t done;    /* put back */
    uint64_t there;   /* nothing to do: the row, or a newer one, is in */
    uint64_t refused; /* each told to the callback */
};

struct ad_pg_letters;

typedef void (*ad_pg_letter_cb)(void *data, const struct ad_pg_letter *l);
typedef void (*ad_pg_refused_cb)(void *data, uint64_t id, const char *why);

/* -EHOSTUNREACH: no connection; SY_EVERSION: no such table yet. */
SY_MUST_USE int ad_pg_letters_open(struct ad_pg_letters **ret, const char *conninfo,
                                   struct sy_errbuf *eb);
/* The newest first. @ret_total: how many there are. */
SY_MUST_USE int ad_pg_letters_list(struct ad_pg_letters *l, unsigned limit,
                                   ad_pg_letter_cb cb, void *data, uint64_t *ret_total,
                                   struct sy_errbuf *eb);
/* SY_ENOTFOUND */
SY_MUST_USE int ad_pg_letters_show(struct ad_pg_letters *l, uint64_t id,
                                   ad_pg_letter_cb cb, void *data, struct sy_errbuf *eb);
/* Each letter in a transaction that puts its row back and marks it, or does neither. */
SY_MUST_USE int ad_pg_letters_replay(struct ad_pg_letters *l, const uint64_t *ids,
                                     size_t n, ad_pg_refused_cb refused, void *data,
                                     struct ad_pg_replayed *ret, struct sy_errbuf *eb);
/* All that are new. */
SY_MUST_USE int ad_pg_letters_replay_all(struct ad_pg_letters *l,
                                         ad_pg_refused_cb refused, void *data,
                                         struct ad_pg_replayed *ret,
                                         struct sy_errbuf *eb);
SY_MUST_USE int ad_pg_letters_drop(struct ad_pg_letters *l, const uint64_t *ids, size_t n,
                                   uint64_t *ret_dropped, struct sy_errbuf *eb);
SY_MUST_USE int ad_pg_letters_drop_all(struct ad_pg_letters *l, uint64_t *ret_dropped,
                                       struct sy_errbuf *eb);
void ad_pg_letters_close(struct ad_pg_letters *l);

#endif /* AD_POSTGRES_LETTERS_H */
