/* SPDX-License-Identifier: Apache-2.0 */
/* An intrusive, circular, doubly linked list. A node that is in no list points at itself. */
#ifndef LIST_H
#define LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

/* The struct that embeds this node. */
#define list_entry(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

/* Safe against removal of `it` itself, not of its neighbour. */
#define list_for_each(it, after, head)                                        \
	for (struct list *it = (head)->next, *after = it->next; it != (head); \
		it = after, after = it->next)

static inline void list_init(struct list *node)
{
	node->next = node->prev = node;
}

static inline bool list_is_empty(const struct list *head)
{
	return head->next == head;
}

static inline size_t list_length(const struct list *head)
{
	size_t length = 0;

	list_for_each (it, after, head)
		length++;
	return length;
}

static inline void list_insert_between(struct list *node, struct list *prev, struct list *next)
{
	node->prev = prev;
	node->next = next;
	prev->next = node;
	next->prev = node;
}

static inline void list_push_front(struct list *head, struct list *node)
{
	list_insert_between(node, head, head->next);
}

static inline void list_push_back(struct list *head, struct list *node)
{
	list_insert_between(node, head->prev, head);
}

/* Harmless on a node that is in no list, if it was initialised. */
static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

#endif
