/* 30-bit bus addresses: what lies above 1 GiB is out of reach. */
#include "cases.h"
#include "dma.h"

enum { EINVAL = 22 };

uint32_t case_limit_alias(struct result *result)
{
	uint64_t victim = scratch_take(PAGE, PAGE), source = scratch_take(PAGE, PAGE), target = GIB + victim;
	struct control_block *block = control_blocks(1);
	char refusal[TEXT_BYTES];

	REQUIRE(in_range(target, board.high), "no memory at %lx", target);
	fill(source, PAGE, 70);
	fill(victim, PAGE, 71);
	fill(target, PAGE, 72);
	copy_block(block, dma_bus(target), dma_bus(source), PAGE);

	REQUIRE(dma_run(0, block, DMA_NONE) == -EINVAL, "a DMA to %lx was let through", target);
	memcpy(refusal, reply_text(), strlen(reply_text()) + 1);
	SAME(victim, PAGE, 71);

	/* the check left out: the engine drops the address bits it does not have */
	REQUIRE(!dma_run(0, block, DMA_BEYOND_REACH), "%s", reply_text());
	SAME(target, PAGE, 72);
	SAME(victim, PAGE, 70);
	SAY("as expected: DMA meant for %lx overwrote %lx; checked, it is refused: %s", target, victim, refusal);
	return OUTCOME_PASSED;
}

uint32_t case_limit_refused(struct result *result)
{
	struct buffer good;
	struct reply reply;

	RING(&reply, OP_REACH, DEVICE_CAMERA, board.high.base, MIB);
	REQUIRE(reply.status == -EINVAL, "the model lets the camera use %lx (status %d)", board.high.base, reply.status);
	SAY("%s", reply_text());
	ALLOCATE(&good, DEVICE_CAMERA, MIB);
	RING(&reply, OP_REACH, DEVICE_CAMERA, good.cpu, good.size);
	REQUIRE(!reply.status, "its own buffer at %lx is refused: %s", good.cpu, reply_text());
	RELEASE(&good);
	return OUTCOME_PASSED;
}
