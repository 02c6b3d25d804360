/* SPDX-License-Identifier: Apache-2.0 */
/* The path walker against a model of it. The input makes a small tree of directories, files and
 * symlinks, and then a path; what the kernel finds must be what the model says, and whatever is made
 * must be made inside. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child/copy.h"
#include "child/path.h"

#define NODES_MAX  16
#define TARGET_MAX 12
#define PATH_SIZE  64
#define PATHS      32
/* The kernel's MAXSYMLINKS. */
#define SYMLINKS_MAX 40

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct node {
	enum { DIRECTORY, FILE_NODE, SYMLINK } kind;
	int parent;
	char name[2];
	char target[TARGET_MAX + 1];
	ino_t inode;
};

struct tree {
	struct node nodes[NODES_MAX];
	int count, links;
};

/* Behind its end it goes on at random, which its bytes decide. */
struct input {
	const uint8_t *at, *end;
	uint32_t random;
};

static char base_path[] = "/tmp/fuzz_path.XXXXXX";
static int base; /* holds nothing but, for each input, `root` */

static unsigned take(struct input *input)
{
	unsigned byte = input->at < input->end ? *input->at++ : input->random >> 24;

	input->random = (input->random ^ byte) * 1664525u + 1013904223u;
	return byte;
}

/* Of few words, so that they meet. */
static void take_path(struct input *input, char *path, size_t most)
{
	static const char *const words[] = {"a", "b", "c", "..", ".", "", "/", "aa"};
	unsigned count = take(input) % 8;
	size_t length = 0;

	for (unsigned i = 0; i < count; i++) {
		const char *word = words[take(input) % 8];

		if (length + 1 + strlen(word) <= most)
			length +=
				(size_t)sprintf(path + length, "%s%s", length > 0 ? "/" : "", word);
	}
	path[length] = '\0';
}

static int child_of(const struct tree *tree, int parent, const char *name, size_t length)
{
	for (int i = 1; i < tree->count; i++)
		if (tree->nodes[i].parent == parent && length == 1 &&
			tree->nodes[i].name[0] == name[0])
			return i;
	return -1;
}

/* The node that the path leads to from `at`, or minus an errno. As path_resolution(7) has it, with
 * the root as "/". */
static int walk(struct tree *tree, int at, const char *path)
{
	if (*path == '\0')
		return -ENOENT;
	if (*path == '/')
		at = 0;
	for (;;) {
		size_t length;
		bool last;

		path += strspn(path, "/");
		length = strcspn(path, "/");
		if (length == 0)
			return tree->nodes[at].kind == DIRECTORY ? at : -ENOTDIR;
		last = path[length] == '\0';
		if (tree->nodes[at].kind != DIRECTORY)
			return -ENOTDIR;
		if (length == 2 && memcmp(path, "..", 2) == 0) {
			at = tree->nodes[at].parent;
		} else if (length != 1 || *path != '.') {
			int next = child_of(tree, at, path, length);

			if (next < 0)
				return -ENOENT;
			if (tree->nodes[next].kind == SYMLINK) {
				if (tree->links++ >= SYMLINKS_MAX)
					return -ELOOP;
				next = walk(tree, at, tree->nodes[next].target);
				if (next < 0)
					return next;
			}
			at = next;
		}
		if (last)
			return at;
		path += length;
	}
}

static int node_path(const struct tree *tree, int node, char *path)
{
	int length = node == 0 ? 0 : node_path(tree, tree->nodes[node].parent, path);

	return node == 0 ? 0 : length + sprintf(path + length, "/%s", tree->nodes[node].name);
}

static void add_node(struct tree *tree, struct input *input, int root)
{
	struct node *node = &tree->nodes[tree->count];
	char path[PATH_SIZE] = ".";
	struct stat st;

	node->kind = take(input) % 3;
	node->parent = (int)(take(input) % (unsigned)tree->count);
	node->name[0] = "abc"[take(input) % 3];
	node->name[1] = '\0';
	if (node->kind == SYMLINK)
		take_path(input, node->target, TARGET_MAX);
	if (tree->nodes[node->parent].kind != DIRECTORY ||
		child_of(tree, node->parent, node->name, 1) >= 0 ||
		(node->kind == SYMLINK && node->target[0] == '\0'))
		return;
	node_path(tree, tree->count, path + 1);
	if (node->kind == DIRECTORY)
		assert(mkdirat(root, path, 0755) == 0);
	else if (node->kind == FILE_NODE)
		assert(mknodat(root, path, S_IFREG | 0644, 0) == 0);
	else
		assert(symlinkat(node->target, root, path) == 0);
	assert(fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) == 0);
	node->inode = st.st_ino;
	tree->count++;
}

static ino_t inode_of(int fd)
{
	struct stat st;

	assert(fstat(fd, &st) == 0);
	return st.st_ino;
}

/* From a directory upwards there is the root. */
static void check_inside(int directory, ino_t root)
{
	int at = dup(directory);

	for (int i = 0; inode_of(at) != root; i++) {
		int up = openat(at, "..", O_PATH | O_DIRECTORY);

		assert(up >= 0 && i < PATH_SIZE);
		close(at);
		at = up;
	}
	close(at);
}

static void check_open(struct tree *tree, int root, const char *path)
{
	int fd = child_path_open(root, path, O_PATH), why = errno, node;

	tree->links = 0;
	node = walk(tree, 0, path);
	if (node < 0)
		assert(fd < 0 && why == -node);
	else
		assert(fd >= 0 && inode_of(fd) == tree->nodes[node].inode);
	if (fd >= 0)
		close(fd);
}

static void base_remove(void)
{
	rmdir(base_path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	assert(mkdtemp(base_path));
	base = open(base_path, O_RDONLY | O_DIRECTORY);
	assert(base >= 0);
	atexit(base_remove);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, data + size, 1};
	struct tree tree = {.count = 1};
	char path[PATH_SIZE];
	struct stat st;
	int root, fd;

	assert(mkdirat(base, "root", 0755) == 0);
	root = openat(base, "root", O_RDONLY | O_DIRECTORY);
	assert(root >= 0);
	tree.nodes[0].inode = inode_of(root);
	for (int i = 1; i < NODES_MAX; i++)
		add_node(&tree, &input, root);
	for (int i = 0; i < PATHS; i++) {
		take_path(&input, path, PATH_SIZE - 1);
		check_open(&tree, root, path);
	}
	fd = child_path_directory(root, path);
	if (fd >= 0) {
		assert(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode));
		check_inside(fd, inode_of(root));
		close(fd);
	}
	fd = child_path_file(root, path);
	if (fd >= 0)
		close(fd);
	/* Beside the root there is nothing new. */
	assert(fstat(base, &st) == 0 && st.st_nlink == 3);
	close(root);
	assert(child_copy_remove(base, "root") == 0);
	return 0;
}
