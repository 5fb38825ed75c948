/* A small monitor on the serial line, for `gcma boot`. */
#include "cases.h"
#include "uart.h"

static const struct { uint32_t number; const char *id; } cases[] = {
#define AS_NAME(function, number, id) { number, id },
	CASE_LIST(AS_NAME)
};
static const char *const outcomes[] = { "passed", "FAILED", "skipped", "FAULT" };

static void help(void)
{
	uart_write("  list          the device tests\n"
		   "  run ID        run one of them, or all of a group: run camera\n"
		   "  regions       what the devicetree says\n"
		   "  stats         the pool\n"
		   "  peek ADDRESS  one word of memory\n"
		   "  quit          power off\n");
}

static void regions(void)
{
	uart_print("devicetree  %lx, %u bytes\ndoorbell    %lx\npool        %lx, %lu MiB\n", board.dtb, fdt_size(),
		   board.doorbell.base, board.pool.base, board.pool.size / MIB);
	if (board.high.size)
		uart_print("high memory %lx, %lu MiB\n", board.high.base, board.high.size / MIB);
	for (unsigned i = 1; i < COUNT(board.devices); i++)
		if (board.devices[i].node.at)
			uart_print("%s\t    %s: %s, bus = cpu + %lx\n", board.devices[i].name,
				   fdt_name(board.devices[i].node),
				   board.devices[i].behind_mmu ? "behind an MMU" : "physical addresses",
				   board.devices[i].bus_offset & 0xffffffff);
}

static void run(const char *name)
{
	static struct result result;
	bool any = false;
	size_t size = strlen(name);

	for (unsigned i = 0; i < COUNT(cases); i++) {
		const char *id = cases[i].id;
		bool group = size && starts(id, name) && id[size] == '.';

		if (!same(id, name) && !group)
			continue;
		any = true;
		uint32_t outcome = run_case(cases[i].number, &result);

		uart_print("%s  %s  %s\n", id, outcomes[outcome], result.message);
	}
	if (!any)
		uart_print("no case '%s'; 'list' shows them\n", name);
}

static void peek(const char *text)
{
	uint64_t address = 0;

	if (starts(text, "0x"))
		text += 2;
	for (; *text; text++) {
		uint32_t digit = *text >= 'a' ? (uint32_t)(*text - 'a' + 10) : (uint32_t)(*text - '0');

		if (digit > 15) {
			uart_write("an address in hex\n");
			return;
		}
		address = address << 4 | digit;
	}
	uart_print("%lx: %x\n", address & ~3ul, read32(address & ~3ul));
}

static void read_line(char *line, size_t size)
{
	size_t at = 0;

	for (;;) {
		int c = uart_get();

		if (c < 0)
			continue;
		if (c == '\r' || c == '\n')
			break;
		if ((c == 0x7f || c == 8) && at) {
			at--;
			uart_write("\b \b");
		} else if (c >= ' ' && c < 0x7f && at + 1 < size) {
			line[at++] = (char)c;
			uart_put((char)c);
		}
	}
	line[at] = 0;
	uart_write("\n");
}

void console(void)
{
	char line[80];

	uart_write("'help' lists the commands, 'quit' powers off\n");
	for (;;) {
		uart_write("gcma> ");
		read_line(line, sizeof line);
		if (same(line, "quit") || same(line, "exit"))
			return;
		if (same(line, "help"))
			help();
		else if (same(line, "list"))
			for (unsigned i = 0; i < COUNT(cases); i++)
				uart_print("  %s\n", cases[i].id);
		else if (starts(line, "run "))
			run(line + 4);
		else if (same(line, "regions"))
			regions();
		else if (same(line, "stats")) {
			struct stats stats = stats_now();

			uart_print("%lu pages, %lu available, %lu cached, %lu allocations, %lu failed, %lu dropped\n",
				   stats.total, stats.available, stats.cached, stats.allocations, stats.failures,
				   stats.dropped);
		} else if (starts(line, "peek "))
			peek(line + 5);
		else if (line[0])
			uart_print("no command '%s'; 'help' lists them\n", line);
	}
}
