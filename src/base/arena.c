/* SPDX-License-Identifier: Apache-2.0 */
/* A bump allocator with a cap: everything decoded from one message lives and dies together. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A description of 1 KiB should not cost a page, one of 256 KiB not hundreds of blocks. */
#define BLOCK_MIN 512u
#define BLOCK_MAX 65536u

struct arena_block {
	struct arena_block *next;
	size_t used, size; /* of bytes[] */
	alignas(max_align_t) char bytes[];
};

void arena_init(struct arena *arena, size_t cap)
{
	*arena = (struct arena){.cap = cap};
}

/* A new first block with at least `size` bytes: twice the last one where the cap lets it. */
static struct arena_block *block_push(struct arena *arena, size_t size)
{
	size_t room = arena->cap - arena->used;
	size_t wanted = arena->blocks ? 2 * arena->blocks->size : BLOCK_MIN;
	struct arena_block *block;

	if (room < sizeof(*block) || size > room - sizeof(*block))
		return NULL;
	room -= sizeof(*block);
	if (wanted > BLOCK_MAX)
		wanted = BLOCK_MAX;
	if (wanted > room)
		wanted = room;
	if (wanted < size)
		wanted = size;
	block = calloc(1, sizeof(*block) + wanted);
	if (!block)
		return NULL;
	block->size = wanted;
	block->next = arena->blocks;
	arena->blocks = block;
	arena->used += sizeof(*block) + wanted;
	return block;
}

static void *block_take(struct arena *arena, size_t size, size_t alignment)
{
	struct arena_block *block = arena->blocks;
	size_t start = block ? (block->used + alignment - 1) & ~(alignment - 1) : 0;

	if (!block || start > block->size || size > block->size - start) {
		block = block_push(arena, size);
		if (!block)
			return NULL;
		start = 0;
	}
	block->used = start + size;
	return block->bytes + start;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	return block_take(arena, size, alignof(max_align_t));
}

void *arena_calloc(struct arena *arena, size_t count, size_t size)
{
	if (size && count > SIZE_MAX / size)
		return NULL;
	return arena_alloc(arena, count * size);
}

char *arena_strndup(struct arena *arena, const char *text, size_t length)
{
	char *copy = length < SIZE_MAX ? block_take(arena, length + 1, 1) : NULL;

	if (copy)
		memcpy(copy, text, length);
	return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
	return arena_strndup(arena, text, strlen(text));
}

void arena_free(struct arena *arena)
{
	while (arena->blocks) {
		struct arena_block *block = arena->blocks;

		arena->blocks = block->next;
		free(block);
	}
	arena->used = 0;
}
