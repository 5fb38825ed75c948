/* The device tests. guest/protocol.py lists them; each case_*.c holds those of one subject. */
#pragma once
#include "doorbell.h"
#include "pattern.h"

/* values: what a directive gives back */
struct result { uint64_t bytes, values[2]; char message[TEXT_BYTES]; };

#define AS_PROTOTYPE(function, number, id) uint32_t function(struct result *result);
CASE_LIST(AS_PROTOTYPE)

#define SAY(...) format(result->message, sizeof result->message, __VA_ARGS__)
#define REQUIRE(condition, ...) do { if (!(condition)) { SAY(__VA_ARGS__); return OUTCOME_FAILED; } } while (0)
#define ALLOCATE(buffer, device, size) \
	REQUIRE(!allocate(buffer, device, size), "%s: no buffer of %lu KiB: %s", \
		board.devices[device].name, (uint64_t)(size) / KIB, reply_text())
/* The smallest buffer asked for: one page would not come out of the default area (dma_alloc_contiguous). */
#define LEAST (2 * PAGE)
#define RELEASE(buffer) \
	REQUIRE(!release(buffer), "buffer at %lx not taken back: %s", (buffer)->cpu, reply_text())
#define DMA(channel, chain) \
	REQUIRE(!dma_run(channel, chain, DMA_NONE), "channel %u: %s", (unsigned)(channel), reply_text())
/* Checked twice: by this CPU, and by the host looking at the same memory. */
#define SAME(at, size, seed) do { \
	uint64_t wrong_ = differing(at, size, seed); struct reply reply_; \
	REQUIRE(!wrong_, "%lu of %lu words differ at %lx", wrong_, (uint64_t)(size) / 8, (uint64_t)(at)); \
	RING(&reply_, OP_CHECK, at, size, seed); \
	REQUIRE(!reply_.status && !reply_.values[0], "the host sees %lu words differ at %lx: %s", \
		reply_.values[0], (uint64_t)(at), reply_text()); \
	result->bytes += (size); } while (0)

struct stats { uint64_t total, available, cached, allocations, failures, dropped; };
struct stats stats_now(void);

/* xorshift64*: repeats from run to run */
uint64_t random_next(uint64_t *state);

/* File pages for the cleancache, 256 at a time. */
int put_pages(uint64_t inode, uint64_t index, uint64_t count, uint64_t *stored);
struct seen { uint64_t hits, stale; };
int get_pages(uint64_t inode, uint64_t index, uint64_t count, struct seen *seen);
int fill_cache(uint64_t first_inode, uint64_t pages);	/* files of 256 pages */

/* Runs a case with faults caught; prints and returns its outcome. */
uint32_t run_case(uint32_t number, struct result *result);
/* The same for a directive that lends the host our hands; its arguments follow it. */
uint32_t run_directive(const uint64_t words[6], struct result *result);
uint32_t obey(const uint64_t words[6], struct result *result);
void console(void);

/* For fault.reported: what the next fault should be, and where to go on. */
extern struct context *fault_expected;
extern uint64_t fault_seen;
