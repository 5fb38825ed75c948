/* Faults are reported; the self-tests break things for the harness to notice. */
#include "cases.h"
#include "dma.h"

uint32_t case_fault_reported(struct result *result)
{
	struct context here;

	if (!context_save(&here)) {
		fault_expected = &here;
		__asm__ volatile("udf #90");
		fault_expected = NULL;
		SAY("an undefined instruction went unnoticed");
		return OUTCOME_FAILED;
	}
	fault_expected = NULL;
	REQUIRE(fault_seen >> 26 == 0, "exception class %lx instead of 0 (ESR %lx)", fault_seen >> 26, fault_seen);
	SAY("undefined instruction caught, ESR %lx", fault_seen);
	return OUTCOME_PASSED;
}

uint32_t case_selftest_fault(struct result *result)
{
	__asm__ volatile("mov x20, #0xabcd\n\tudf #200" ::: "x20");
	SAY("an undefined instruction went unnoticed");
	return OUTCOME_FAILED;
}

uint32_t case_selftest_hang(struct result *result)
{
	(void)result;
	for (;;)
		__asm__ volatile("");
}

uint32_t case_selftest_wait(struct result *result)
{
	for (uint64_t end = ticks() + 15 * ticks_per_second(); ticks() < end; )
		;
	SAY("nobody came");
	return OUTCOME_FAILED;
}

uint32_t case_selftest_runaway(struct result *result)
{
	struct control_block *block = control_blocks(1);
	uint64_t at = scratch_take(PAGE, PAGE);

	/* past the host's check: a length that is no multiple of 4 never ends in QEMU */
	copy_block(block, dma_bus(at), dma_bus(at), 6);
	write32(board.dma + 0xff0, 1);
	write32(board.dma + 0x04, dma_bus((uint64_t)block));
	write32(board.dma, 1);
	SAY("the DMA ended");
	return OUTCOME_FAILED;
}
