/* SPDX-License-Identifier: Apache-2.0 */
/* A byte queue of fixed capacity: back-pressure is this queue being full. */
#ifndef QUEUE_H
#define QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a read or a write of a non-blocking fd returns besides n > 0, a number of bytes. No caller looks at
 * EAGAIN or EINTR. */
enum { IO_AGAIN = 0, IO_EOF = -1, IO_ERROR = -2 };

/* The bytes in the queue are contiguous: data[head .. tail). */
struct queue {
	uint8_t *data; /* owned; NULL until queue_open */
	size_t capacity, head, tail;
	uint64_t total; /* bytes ever committed */
	uint64_t sent; /* bytes ever consumed: "has it left?" is sent >= the total of that moment */
};

/* 0, or -1 out of memory. Pages are not touched before they are used. */
int queue_open(struct queue *q, size_t capacity);
void queue_close(struct queue *q);

static inline size_t queue_length(const struct queue *q)
{
	return q->tail - q->head;
}

static inline size_t queue_room(const struct queue *q)
{
	return q->capacity - queue_length(q);
}

/* Room without moving much: what is behind the queued bytes, or all of it once half of the queue is free in
 * front of them. Filling no more than this moves each byte once at most; otherwise a slow reader of a full
 * queue would have all of it moved for each of its reads. */
static inline size_t queue_cheap_room(const struct queue *q)
{
	return q->head >= q->capacity / 2 ? queue_room(q) : q->capacity - q->tail;
}

static inline bool queue_is_empty(const struct queue *q)
{
	return q->head == q->tail;
}

/* The queued bytes, queue_length() of them; valid until the next reserve. */
static inline const uint8_t *queue_peek(const struct queue *q)
{
	return q->data + q->head;
}

/* Space for `size` more bytes behind the queued ones, or NULL when there is not that much room.
 * The caller writes there, then commits what it wrote. */
uint8_t *queue_reserve(struct queue *q, size_t size);
void queue_commit(struct queue *q, size_t size);
void queue_consume(struct queue *q, size_t size);

/* Reserve, copy, commit; false and untouched when it does not fit. */
bool queue_put(struct queue *q, const void *bytes, size_t size);

/* Removes the last `size` bytes as if they had never been committed (total decreases, too). */
void queue_unput(struct queue *q, size_t size);

/* One read(2) into the queue: n > 0, IO_AGAIN (also when it is full), IO_EOF or IO_ERROR with errno. */
ssize_t queue_fill(struct queue *q, int fd);

/* One write(2) of at most `max` queued bytes, consuming what was taken: n > 0, IO_AGAIN (also
 * when it is empty), or IO_ERROR with errno. */
ssize_t queue_drain(struct queue *q, int fd, size_t max);

/* The same for bytes that are in no queue. */
ssize_t io_read(int fd, void *to, size_t size);
ssize_t io_write(int fd, const void *from, size_t size);

#endif
