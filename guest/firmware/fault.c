/* A fault ends its case with the registers in the message; outside a case it ends the firmware. */
#include "cases.h"
#include "uart.h"

uint64_t fault_registers[32];
struct context *fault_expected;
uint64_t fault_seen;

static struct context runner;
static struct result *running;
static char fault_text[TEXT_BYTES];

static const char *class_name(uint64_t syndrome)
{
	switch (syndrome >> 26) {
	case 0x00: return "undefined instruction";
	case 0x0e: return "illegal state";
	case 0x20: case 0x21: return "instruction abort";
	case 0x22: return "misaligned pc";
	case 0x24: case 0x25: return "data abort";
	case 0x26: return "misaligned sp";
	case 0x2f: return "SError";
	case 0x3c: return "brk";
	default: return "exception";
	}
}

_Noreturn void fault_report(uint64_t syndrome, uint64_t link, uint64_t address, uint64_t state, uint64_t vector)
{
	size_t used;

	fault_seen = syndrome;
	if (fault_expected)
		context_restore(fault_expected);
	format(fault_text, sizeof fault_text, "%s: ESR %lx ELR %lx FAR %lx SPSR %lx vector %lu SP %lx",
	       class_name(syndrome), syndrome, link, address, state, vector, fault_registers[31]);
	for (unsigned i = 0; i < 31; i++) {
		used = strlen(fault_text);
		format(fault_text + used, sizeof fault_text - used, " x%u %lx", i, fault_registers[i]);
	}
	uart_print("\n%s\n", fault_text);
	if (running)
		context_restore(&runner);
	park_core();
}

typedef uint32_t work(const void *subject, struct result *result);

static uint32_t guarded(work *todo, const void *subject, struct result *result)
{
	uint32_t outcome;

	*result = (struct result){ 0 };
	scratch_reset();
	running = result;
	if (context_save(&runner)) {
		memcpy(result->message, fault_text, sizeof fault_text);
		outcome = OUTCOME_FAULT;
	} else {
		outcome = todo(subject, result);
	}
	running = NULL;
	return outcome;
}

static uint32_t one_case(const void *number, struct result *result)
{
#define AS_ENTRY(function, number, id) { function, number },
	static const struct { uint32_t (*function)(struct result *); uint32_t number; } list[] = {
		CASE_LIST(AS_ENTRY)
	};

	for (unsigned i = 0; i < COUNT(list); i++)
		if (list[i].number == *(const uint32_t *)number)
			return list[i].function(result);
	SAY("the firmware has no case %u", *(const uint32_t *)number);
	return OUTCOME_FAILED;
}

static uint32_t one_directive(const void *words, struct result *result)
{
	return obey(words, result);
}

uint32_t run_case(uint32_t number, struct result *result)
{
	return guarded(one_case, &number, result);
}

uint32_t run_directive(const uint64_t words[6], struct result *result)
{
	return guarded(one_directive, words, result);
}
