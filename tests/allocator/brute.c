/* Brute force for `gcma prove`: breadth first over single operations, every state of an area of up to 42 pages.
 *
 * A state is the area itself, three bits a page: the kind of the buffer that begins there plus one, 0 for none.
 * Reads problems, one a line: pages, base pfn, kinds, then for each kind: count, pages, alignment order, highest
 * end of use. Prints for each the calls up to the first that can fail, -1 when none can. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = 4, PAGES = 42, BITS = 3, MASK = 7 };

typedef unsigned __int128 state_t;

struct kind {
	int count, pages, align, room;
};

struct set {
	state_t *slots; /* 0: empty; the state plus one */
	size_t size, used;
};

struct list {
	state_t *states;
	size_t used, size;
};

static void *grown(void *old, size_t bytes)
{
	void *memory = realloc(old, bytes);

	if (!memory) {
		fprintf(stderr, "brute: no memory for %zu bytes\n", bytes);
		exit(2);
	}
	return memory;
}

static state_t *slot_of(const struct set *set, state_t state)
{
	uint64_t mixed = ((uint64_t)state ^ (uint64_t)(state >> 63) * 0xff51afd7ed558ccdu) * 0x9e3779b97f4a7c15u;
	size_t at = (mixed >> 20) & (set->size - 1);

	while (set->slots[at] && set->slots[at] != state + 1)
		at = (at + 1) & (set->size - 1);
	return &set->slots[at];
}

static int is_new(struct set *set, state_t state)
{
	state_t *slot = slot_of(set, state);

	if (*slot)
		return 0;
	*slot = state + 1;
	if (++set->used * 2 > set->size) {
		struct set larger = { grown(NULL, 2 * set->size * sizeof(state_t)), 2 * set->size, set->used };

		memset(larger.slots, 0, larger.size * sizeof(state_t));
		for (size_t at = 0; at < set->size; at++)
			if (set->slots[at])
				*slot_of(&larger, set->slots[at] - 1) = set->slots[at];
		free(set->slots);
		*set = larger;
	}
	return 1;
}

static void add(struct list *list, state_t state)
{
	if (list->used == list->size) {
		list->size = list->size ? 2 * list->size : 1024;
		list->states = grown(list->states, list->size * sizeof(state_t));
	}
	list->states[list->used++] = state;
}

/* Where first fit puts `kind`, the lowest free aligned place; -1 without one. */
static int first_fit(int pages, uint64_t base, const int *taken, const struct kind *kind)
{
	for (int place = 0; place + kind->pages <= pages; place++) {
		int free = (base + place) % (1u << kind->align) == 0;

		for (int page = place; free && page < place + kind->pages; page++)
			free = !taken[page];
		if (free)
			return place;
	}
	return -1;
}

static int solve(int pages, uint64_t base, int kinds, const struct kind *kind)
{
	struct set seen = { calloc(1024, sizeof(state_t)), 1024, 0 };
	struct list layer = { 0 }, next = { 0 };
	int answer = -1;

	if (!seen.slots)
		exit(2);
	is_new(&seen, 0);
	add(&layer, 0);
	for (int depth = 1; layer.used && answer < 0; depth++) {
		next.used = 0;
		for (size_t each = 0; each < layer.used && answer < 0; each++) {
			state_t state = layer.states[each];
			int taken[PAGES] = { 0 }, held[KINDS] = { 0 };

			for (int page = 0; page < pages; page++) {
				int at = (int)(state >> BITS * page & MASK);

				if (!at)
					continue;
				held[at - 1]++;
				for (int inside = 0; inside < kind[at - 1].pages; inside++)
					taken[page + inside] = 1;
				state_t released = state & ~((state_t)MASK << BITS * page);
				if (is_new(&seen, released))
					add(&next, released);
			}
			for (int which = 0; which < kinds; which++) {
				int place;

				if (held[which] == kind[which].count)
					continue;
				place = first_fit(pages, base, taken, &kind[which]);
				if (place < 0 || place + kind[which].pages > kind[which].room) {
					answer = depth;
					break;
				}
				state_t more = state | (state_t)(which + 1) << BITS * place;
				if (is_new(&seen, more))
					add(&next, more);
			}
		}
		struct list swap = layer;
		layer = next;
		next = swap;
	}
	free(seen.slots);
	free(layer.states);
	free(next.states);
	return answer;
}

int main(void)
{
	int pages, kinds;
	unsigned long long base;

	while (scanf("%d %llu %d", &pages, &base, &kinds) == 3) {
		struct kind kind[KINDS];

		if (pages < 1 || pages > PAGES || kinds < 1 || kinds > KINDS)
			return 2;
		for (int each = 0; each < kinds; each++)
			if (scanf("%d %d %d %d", &kind[each].count, &kind[each].pages, &kind[each].align,
				  &kind[each].room) != 4)
				return 2;
		printf("%d\n", solve(pages, base, kinds, kind));
	}
	return 0;
}
