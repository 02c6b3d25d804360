/* SPDX-License-Identifier: Apache-2.0 */
/* The mapped ports of the pod's containers, and the packet filter that follows them.
 *
 * A worker writes the rules as a whole, from all entries. So a change that comes meanwhile only has to
 * make it run once more, and one that failed is undone by running it without the new entry.
 */
#include "portmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "log.h"

void portmap_init(struct portmap *portmap, struct spawner *spawner, uint32_t deadline_ms)
{
	*portmap = (struct portmap){.worker = {.spawner = spawner}, .deadline_ms = deadline_ms};
	list_init(&portmap->entries);
}

static void entry_free(struct portmap_entry *entry)
{
	list_remove(&entry->node);
	free(entry->id);
	free(entry);
}

static const char **copy_list(const char **list, struct arena *arena)
{
	const char **copy;
	size_t count = 0;

	while (list && list[count])
		count++;
	copy = arena_calloc(arena, count + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < count; i++) {
		copy[i] = arena_strndup(arena, list[i], strlen(list[i]));
		if (!copy[i])
			return NULL;
	}
	return copy;
}

int portmap_open(struct portmap *portmap, const struct white_lists_spec *lists, struct arena *arena,
	struct error *err)
{
	portmap->cut = NULL;
	portmap->lists.internal = copy_list(lists->internal, arena);
	portmap->lists.external = copy_list(lists->external, arena);
	portmap->is_on = portmap->lists.internal && portmap->lists.external;
	return portmap->is_on ? 0 : error_set(err, ENOMEM, "the white lists take too much");
}

void portmap_close(struct portmap *portmap)
{
	list_for_each (it, after, &portmap->entries)
		entry_free(list_entry(it, struct portmap_entry, node));
	portmap->is_on = portmap->is_stale = false;
	portmap->on_done = NULL;
	portmap->added = NULL;
	worker_cancel(&portmap->worker, "the pod ends");
}

bool portmap_concerns(const struct portmap *portmap, const struct container_spec *container)
{
	return portmap->is_on && container->ports_count > 0;
}

static void applied(void *context, const struct error *err);

static int apply(struct portmap *portmap, struct error *err)
{
	const struct child_portmap child = {
		.lists = &portmap->lists,
		.entries = &portmap->entries,
	};
	const struct worker_plan plan = {
		.entry = child_portmap_apply,
		.argument = &child,
		.deadline_ms = portmap->deadline_ms,
		.on_done = applied,
		.context = portmap,
	};

	portmap->is_stale = portmap->waits_for_next = false;
	if (portmap->cut)
		return error_set(err, ECANCELED, "%s", portmap->cut);
	return worker_start(&portmap->worker, &plan, err);
}

/* The rules are to be written, now or as soon as the worker is free. */
static int change(struct portmap *portmap, struct error *err)
{
	if (!portmap->worker.busy)
		return apply(portmap, err);
	portmap->is_stale = portmap->waits_for_next = true;
	return 0;
}

static void tell(struct portmap *portmap)
{
	void (*on_done)(void *, const struct error *) = portmap->on_done;

	portmap->on_done = NULL;
	portmap->added = NULL;
	if (on_done)
		on_done(portmap->context, portmap->failed ? &portmap->failure : NULL);
}

static void applied(void *context, const struct error *err)
{
	struct portmap *portmap = context;
	bool is_told = !portmap->waits_for_next;
	struct error again;

	if (!portmap->is_on)
		return;
	if (!err)
		log_info("portmap: the rules are those of %zu containers",
			list_length(&portmap->entries));
	for (;;) {
		if (err && is_told && portmap->added) {
			entry_free(portmap->added);
			portmap->added = NULL;
			portmap->failed = true;
			portmap->failure = *err;
			portmap->is_stale = true;
			is_told = false;
		} else if (err) {
			log_error("portmap: %s", err->text);
		}
		if (!portmap->is_stale || apply(portmap, &again) == 0)
			break;
		/* Without a child for it, it has failed already. */
		err = &again;
		is_told = true;
	}
	if (is_told)
		tell(portmap);
}

static int parse_ports(
	struct portmap_entry *entry, const struct container_spec *container, struct error *err)
{
	for (size_t i = 0; i < container->ports_count; i++) {
		const struct port_spec *port = &container->ports[i];
		const char *protocol = port->protocol ? port->protocol : "tcp";

		if (port->host_port == 0 || port->container_port == 0)
			return error_set(err, EINVAL, "ports[%zu]: port 0 cannot be mapped", i);
		if (strcasecmp(protocol, "tcp") != 0 && strcasecmp(protocol, "udp") != 0)
			return error_set(err, EINVAL,
				"ports[%zu].protocol: '%s' is neither tcp nor udp", i, protocol);
		entry->ports[i] = (struct portmap_port){
			.host = (uint16_t)port->host_port,
			.container = (uint16_t)port->container_port,
			.is_udp = strcasecmp(protocol, "udp") == 0,
		};
	}
	entry->ports_count = container->ports_count;
	return 0;
}

int portmap_add(struct portmap *portmap, const struct container_spec *container,
	void (*on_done)(void *context, const struct error *err), void *context, struct error *err)
{
	struct portmap_entry *entry;

	if (container->ports_count > PORTS_MAX)
		return error_set(
			err, E2BIG, "%zu ports: more than %u", container->ports_count, PORTS_MAX);
	entry = calloc(1, sizeof(*entry) + container->ports_count * sizeof(*entry->ports));
	if (!entry)
		return error_memory(err);
	list_init(&entry->node);
	entry->id = strdup(container->id);
	if (!entry->id) {
		error_memory(err);
		goto fail;
	}
	if (parse_ports(entry, container, err) < 0)
		goto fail;
	list_push_back(&portmap->entries, &entry->node);
	if (change(portmap, err) < 0)
		goto fail;
	portmap->on_done = on_done;
	portmap->context = context;
	portmap->added = entry;
	portmap->failed = false;
	return 0;

fail:
	entry_free(entry);
	return -1;
}

bool portmap_remove(struct portmap *portmap, const char *id,
	void (*on_done)(void *context, const struct error *err), void *context)
{
	struct error err;

	list_for_each (it, after, &portmap->entries) {
		struct portmap_entry *entry = list_entry(it, struct portmap_entry, node);

		if (strcmp(entry->id, id) != 0)
			continue;
		entry_free(entry);
		if (change(portmap, &err) < 0) {
			log_error("portmap: %s", err.text);
			return false;
		}
		if (on_done) {
			portmap->on_done = on_done;
			portmap->context = context;
			portmap->failed = false;
		}
		return true;
	}
	return false;
}

void portmap_cancel(struct portmap *portmap, const char *reason)
{
	portmap->cut = reason;
	worker_cancel(&portmap->worker, reason);
}

void portmap_resume(struct portmap *portmap)
{
	portmap->cut = NULL;
}
