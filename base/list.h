/* Intrusive doubly linked list. A link that is in no list points to itself. */

#ifndef SY_BASE_LIST_H
#define SY_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct sy_link
{
    struct sy_link *next;
    struct sy_link *prev;
};

/* The TYPE whose FIELD is at @PTR. */
#define SY_CONTAINER(PTR, TYPE, FIELD) \
    ((TYPE *)(void *)((char *)(PTR)-offsetof(TYPE, FIELD)))

static inline void sy_list_init(struct sy_link *head)
{
    head->next = head->prev = head;
}

static inline bool sy_list_empty(const struct sy_link *head)
{
    return head->next == head;
}

static inline void sy_list_push(struct sy_link *head, struct sy_link *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static inline void sy_list_remove(struct sy_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = link;
}

/* The first link, taken out, or NULL. */
static inline struct sy_link *sy_list_pop(struct sy_link *head)
{
    struct sy_link *link = head->next;

    if (link == head) {
        return NULL;
    }
    sy_list_remove(link);
    return link;
}

/* Everything in @from goes to @to (which is initialised): detach, then call. */
static inline void sy_list_move(struct sy_link *from, struct sy_link *to)
{
    sy_list_init(to);
    if (!sy_list_empty(from)) {
        *to = *from;
        to->next->prev = to->prev->next = to;
        sy_list_init(from);
    }
}

#endif /* SY_BASE_LIST_H */
