/* SPDX-License-Identifier: Apache-2.0 */
/* A byte queue of fixed capacity: back-pressure is this queue being full. */
#include "base/queue.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/invariant.h"

/* With this much room behind the queued bytes a read does not move them to make more: virtio-serial gives
 * no more than a page at a time. */
#define FILL_WORTHWHILE 4096u

int queue_open(struct queue *q, size_t capacity)
{
	/* Touches no page; malloc would write the first and the last one of each queue. */
	void *data =
		mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*q = (struct queue){.data = data == MAP_FAILED ? NULL : data, .capacity = capacity};
	/* No child needs it: its pages would be shared first, and copied when the agent writes next. */
	if (q->data)
		madvise(data, capacity, MADV_DONTFORK);
	return q->data ? 0 : -1;
}

void queue_close(struct queue *q)
{
	if (q->data)
		munmap(q->data, q->capacity);
	*q = (struct queue){0};
}

uint8_t *queue_reserve(struct queue *q, size_t size)
{
	if (size > queue_room(q))
		return NULL;
	if (size > q->capacity - q->tail) {
		memmove(q->data, q->data + q->head, queue_length(q));
		q->tail -= q->head;
		q->head = 0;
	}
	return q->data + q->tail;
}

void queue_commit(struct queue *q, size_t size)
{
	assert(size <= q->capacity - q->tail);
	q->tail += size;
	q->total += size;
}

void queue_consume(struct queue *q, size_t size)
{
	assert(size <= queue_length(q));
	q->head += size;
	q->sent += size;
	/* It begins at the front again: bytes are rarely moved, and few pages ever touched. */
	if (queue_is_empty(q))
		q->head = q->tail = 0;
}

bool queue_put(struct queue *q, const void *bytes, size_t size)
{
	uint8_t *to = queue_reserve(q, size);

	if (!to)
		return false;
	/* memcpy() would be inlined as one rep movsb: an instruction a byte on a CPU without ERMS. */
	memmove(to, bytes, size);
	queue_commit(q, size);
	return true;
}

void queue_unput(struct queue *q, size_t size)
{
	assert(size <= queue_length(q));
	q->tail -= size;
	q->total -= size;
}

ssize_t queue_fill(struct queue *q, int fd)
{
	size_t size = queue_room(q), tail = q->capacity - q->tail;
	ssize_t n;

	if (size > tail && tail >= FILL_WORTHWHILE)
		size = tail;
	if (size == 0)
		return IO_AGAIN;
	n = io_read(fd, queue_reserve(q, size), size);
	if (n > 0)
		queue_commit(q, (size_t)n);
	return n;
}

ssize_t queue_drain(struct queue *q, int fd, size_t max)
{
	size_t size = queue_length(q) < max ? queue_length(q) : max;
	ssize_t n;

	if (size == 0)
		return IO_AGAIN;
	n = io_write(fd, queue_peek(q), size);
	if (n > 0)
		queue_consume(q, (size_t)n);
	return n;
}

ssize_t io_read(int fd, void *to, size_t size)
{
	ssize_t n;

	do
		n = read(fd, to, size);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? IO_AGAIN : IO_ERROR;
	return n == 0 ? IO_EOF : n;
}

ssize_t io_write(int fd, const void *from, size_t size)
{
	ssize_t n;

	do
		n = write(fd, from, size);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? IO_AGAIN : IO_ERROR;
	return n;
}
