#include "board.h"

struct board board;

static void find_devices(void)
{
#define AS_LIST(name, number, ...) { name, number, { __VA_ARGS__ } },
	static const struct { const char *name; unsigned number; const char *compatible[4]; } list[] = {
		DEVICE_LIST(AS_LIST)
	};
	struct property property;

	for (unsigned i = 0; i < COUNT(list); i++) {
		struct device *device = &board.devices[list[i].number];
		uint64_t bus, cpu, size;

		device->name = list[i].name;
		device->node = fdt_compatible(list[i].compatible);
		if (!device->node.at)
			continue;
		device->behind_mmu = fdt_get(device->node, "iommus", &property);
		if (fdt_dma_window(device->node, &bus, &cpu, &size)) {
			device->window = (struct range){ cpu, size };
			device->bus_offset = bus - cpu;
		} else {
			device->window = (struct range){ 0, ~0ul };
		}
	}
}

/* Does the place the host computed obey what the tree asks for? */
static const char *pool_trouble(struct node parent, struct node pool, struct range placed)
{
	unsigned address = fdt_cells(parent, "#address-cells", 1), size = fdt_cells(parent, "#size-cells", 1);
	struct property property;

	if (fdt_get(pool, "reg", &property) && property.size)
		return fdt_number(property, 0, address) == placed.base &&
		       fdt_number(property, address, size) == placed.size ? NULL : "reg is another place";
	if (!fdt_get(pool, "size", &property) || fdt_number(property, 0, size) != placed.size)
		return "size differs";
	if (fdt_get(pool, "alignment", &property)) {
		uint64_t align = fdt_number(property, 0, property.size / 4);

		if (align && placed.base % align)
			return "the base is not aligned as asked";
	}
	if (fdt_get(pool, "alloc-ranges", &property)) {
		for (unsigned i = 0; 4 * (i + address + size) <= property.size; i += address + size) {
			uint64_t from = fdt_number(property, i, address), room = fdt_number(property, i + address, size);

			if (placed.base >= from && placed.base - from + placed.size <= room)
				return NULL;
		}
		return "it lies outside alloc-ranges";
	}
	return NULL;
}

static void find_pool(void)
{
	struct node parent = fdt_path("/reserved-memory");
	struct property property;

	if (!parent.at)
		return;
	for (struct node node = fdt_first_child(parent); node.at; node = fdt_next_sibling(node)) {
		if (!fdt_available(node) || !fdt_is(node, "shared-dma-pool") || !fdt_get(node, "reusable", &property))
			continue;
		if (!fdt_get(node, "guaranteed", &property) && !fdt_get(node, "guarantee", &property))
			continue;
		if (!fdt_get(node, PLACED, &property) || property.size != 16)
			continue;
		board.pool = (struct range){ fdt_number(property, 0, 2), fdt_number(property, 2, 2) };
		board.trouble = pool_trouble(parent, node, board.pool);
		return;
	}
}

/* Cores wait in the boot stub for an address; under TCG its WFE spins, so lead them to the park. */
static void park_other_cores(void)
{
	struct node cpus = fdt_path("/cpus");
	struct property property;

	if (!cpus.at)
		return;
	for (struct node cpu = fdt_first_child(cpus); cpu.at; cpu = fdt_next_sibling(cpu))
		if (fdt_get(cpu, "cpu-release-addr", &property) && property.size == 8 &&
		    fdt_get(cpu, "reg", &(struct property){ 0 })) {
			uint64_t release = fdt_number(property, 0, 2);

			if (release && release < 0x1000 && !(release & 7) && release != 0xd8)
				write64(release, (uint64_t)park_core);
		}
	barrier();
	__asm__ volatile("sev");
}

bool board_read(uint64_t dtb)
{
	struct property property;
	uint64_t size;

	board.dtb = dtb;
	if (!fdt_open(dtb))
		return false;
	struct node chosen = fdt_path("/chosen");

	if (!chosen.at || !fdt_get(chosen, CHOSEN_DOORBELL, &property) || property.size != 16)
		return false;
	board.doorbell = (struct range){ fdt_number(property, 0, 2), fdt_number(property, 2, 2) };
	if (board.doorbell.size < DOORBELL_BYTES || read32(board.doorbell.base) != DOORBELL_MAGIC)
		return false;
	if (fdt_get(chosen, CHOSEN_RAM, &property))
		for (unsigned i = 0; 4 * (i + 4) <= property.size; i += 4)
			if (fdt_number(property, i, 2) >= GIB)
				board.high = (struct range){ fdt_number(property, i, 2), fdt_number(property, i + 2, 2) };

	struct node uart = fdt_compatible((const char *const[]){ "arm,pl011", NULL });
	struct node mailbox = fdt_compatible((const char *const[]){ "brcm,bcm2835-mbox", NULL });

	if (uart.at)
		fdt_register(uart, &board.uart, NULL);
	if (mailbox.at)
		fdt_register(mailbox, &board.mailbox, NULL);
	find_devices();
	if (board.devices[DEVICE_DMA].node.at && fdt_register(board.devices[DEVICE_DMA].node, &board.dma, &size))
		board.dma_channels = size / 0x100 < 15 ? (unsigned)(size / 0x100) : 15;
	find_pool();
	park_other_cores();
	return true;
}
