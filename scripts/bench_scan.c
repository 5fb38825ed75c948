/* The other side of the contiguous-search rows: a bitmap searched word by word, as kernels do it.
 *
 * One call runs a whole list of operations over a bitmap, so that no call overhead is measured.
 * Built by scripts/bench_core.py with gcc -O2.
 */
#include <stdint.h>

typedef uint64_t word;

static int64_t next_bit(const word *map, int64_t size, int64_t start, word flip)
{
	if (start >= size)
		return size;
	int64_t i = start / 64;
	word w = (map[i] ^ flip) & (~0ull << (start % 64));
	while (!w) {
		if (++i * 64 >= size)
			return size;
		w = map[i] ^ flip;
	}
	int64_t bit = i * 64 + __builtin_ctzll(w);
	return bit < size ? bit : size;
}

static int64_t next_area(const word *map, int64_t size, int64_t want, int64_t mask)
{
	int64_t start = 0;
	for (;;) {
		int64_t at = (next_bit(map, size, start, ~0ull) + mask) & ~mask;
		if (at + want > size)
			return -1;
		int64_t taken = next_bit(map, at + want, at, 0);
		if (taken >= at + want)
			return at;
		start = taken + 1;
	}
}

static void fill(word *map, int64_t start, int64_t count, word value)
{
	while (count) {
		int64_t n = 64 - start % 64;
		if (n > count)
			n = count;
		word bits = (~0ull >> (64 - n)) << (start % 64);
		map[start / 64] = (map[start / 64] & ~bits) | (value & bits);
		start += n;
		count -= n;
	}
}

/* Operation k: slot slots[k] holds a run -> free it; else allocate wants[k] pages. Returns the failures;
 * places[k] is where an allocation went, -1 when it failed, -2 for a free. */
int64_t run(word *map, int64_t size, const int64_t *slots, const int64_t *wants, const int64_t *masks,
	    int64_t *held_at, int64_t *held_count, int64_t *places, int64_t ops)
{
	int64_t failed = 0;
	for (int64_t k = 0; k < ops; k++) {
		int64_t s = slots[k];
		if (held_count[s]) {
			fill(map, held_at[s], held_count[s], 0);
			held_count[s] = 0;
			places[k] = -2;
			continue;
		}
		int64_t at = next_area(map, size, wants[k], masks[k]);
		places[k] = at;
		if (at < 0) {
			failed++;
			continue;
		}
		fill(map, at, wants[k], ~0ull);
		held_at[s] = at;
		held_count[s] = wants[k];
	}
	return failed;
}
