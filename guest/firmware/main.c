/* Boots, says hello, then runs the cases the host names until it is told to stop. */
#include "cases.h"
#include "uart.h"

enum { VERSION_REFUSED = 1 };

extern char __image_end[];

uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dul;
}

struct stats stats_now(void)
{
	struct reply reply;

	RING(&reply, OP_STATS, 0);
	return (struct stats){ reply.values[0], reply.values[1], reply.values[2],
			       reply.values[3], reply.values[4], reply.values[5] };
}

static unsigned exception_level(void)
{
	uint64_t level;

	__asm__ volatile("mrs %0, CurrentEL" : "=r"(level));
	return (unsigned)(level >> 2 & 3);
}

_Noreturn void firmware_main(uint64_t dtb)
{
	static struct result result;
	struct reply reply;

	if (!board_read(dtb))
		park_core();
	uart_init(board.uart);
	uart_print("gcma firmware: EL%u, devicetree %lx, pool %lx + %lu MiB\n", exception_level(), dtb, board.pool.base,
		   board.pool.size / MIB);
	RING(&reply, OP_HELLO, DOORBELL_VERSION, dtb, exception_level(), (uint64_t)__image_end, board.pool.base,
	     board.pool.size);
	if (reply.status) {
		uart_print("the host refused: %s\n", reply_text());
		park_core();
	}
	for (;;) {
		RING(&reply, OP_NEXT, 0);
		uint32_t next = (uint32_t)reply.values[0];

		if (next == DIRECTIVE_HALT)
			break;
		if (next == DIRECTIVE_CONSOLE) {
			console();
			continue;
		}
		uint64_t start = ticks();
		uint32_t outcome = next < DIRECTIVE_CONSOLE ? run_case(next, &result) :
							      run_directive(reply.values, &result);
		uint64_t took = ticks() - start;

		request_text(result.message);
		RING(&reply, OP_REPORT, next, outcome, result.bytes, took, result.values[0], result.values[1]);
	}
	uart_write("gcma firmware: halted\n");
	park_core();
}
