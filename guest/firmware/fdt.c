#include "fdt.h"

enum { BEGIN_NODE = 1, END_NODE = 2, PROP = 3, NOP = 4, END = 9 };

static const uint8_t *blob, *structs, *structs_end, *strings, *strings_end;

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

bool fdt_open(uint64_t address)
{
	blob = (const uint8_t *)address;
	if (address == 0 || address & 7 || be32(blob) != 0xd00dfeed)
		return false;
	uint32_t total = be32(blob + 4), structs_at = be32(blob + 8), strings_at = be32(blob + 12);
	uint32_t strings_size = be32(blob + 32), structs_size = be32(blob + 36);

	if (be32(blob + 20) < 17 || structs_at > total || structs_size > total - structs_at ||
	    strings_at > total || strings_size > total - strings_at || structs_size < 4)
		return false;
	structs = blob + structs_at;
	structs_end = structs + structs_size;
	strings = blob + strings_at;
	strings_end = strings + strings_size;
	return be32(structs) == BEGIN_NODE;
}

uint32_t fdt_size(void)
{
	return be32(blob + 4);
}

/* The token after the one at `p`; null past the end. */
static const uint8_t *next_token(const uint8_t *p)
{
	uint32_t size;

	switch (be32(p)) {
	case BEGIN_NODE:
		for (p += 4; p < structs_end && *p; p++)
			;
		p++;
		break;
	case PROP:
		if (structs_end - p < 12)
			return NULL;
		size = be32(p + 4);
		if (size > (uint32_t)(structs_end - p) - 12)
			return NULL;
		p += 12 + size;
		break;
	default:
		p += 4;
	}
	p = structs + (((uint64_t)(p - structs) + 3) & ~3ul);
	return p + 4 <= structs_end ? p : NULL;
}

struct node fdt_root(void)
{
	return (struct node){ structs };
}

const char *fdt_name(struct node node)
{
	return (const char *)node.at + 4;
}

struct node fdt_first_child(struct node node)
{
	for (const uint8_t *p = next_token(node.at); p; p = next_token(p)) {
		if (be32(p) == BEGIN_NODE)
			return (struct node){ p };
		if (be32(p) == END_NODE || be32(p) == END)
			break;
	}
	return (struct node){ NULL };
}

struct node fdt_next_sibling(struct node node)
{
	int depth = 0;

	for (const uint8_t *p = node.at; p; p = next_token(p)) {
		if (be32(p) == BEGIN_NODE) {
			if (p != node.at && depth == 0)
				return (struct node){ p };
			depth++;
		} else if (be32(p) == END_NODE) {
			if (depth == 0)
				break;
			depth--;
		} else if (be32(p) == END) {
			break;
		}
	}
	return (struct node){ NULL };
}

struct node fdt_parent(struct node node)
{
	const uint8_t *above[FDT_DEPTH] = { 0 };
	int depth = 0;

	for (const uint8_t *p = structs; p && p <= node.at; p = next_token(p)) {
		if (p == node.at)
			return (struct node){ depth ? above[depth - 1] : NULL };
		if (be32(p) == BEGIN_NODE) {
			if (depth == FDT_DEPTH)
				break;
			above[depth++] = p;
		} else if (be32(p) == END_NODE && depth) {
			depth--;
		}
	}
	return (struct node){ NULL };
}

struct node fdt_path(const char *path)
{
	struct node node = fdt_root();

	while (node.at && *path == '/') {
		size_t size = 0;

		for (path++; path[size] && path[size] != '/'; size++)
			;
		if (!size)
			break;
		struct node child = fdt_first_child(node);

		while (child.at && !(strlen(fdt_name(child)) == size && !memcmp(fdt_name(child), path, size)))
			child = fdt_next_sibling(child);
		node = child;
		path += size;
	}
	return node;
}

bool fdt_get(struct node node, const char *name, struct property *property)
{
	size_t size = strlen(name) + 1;

	for (const uint8_t *p = next_token(node.at); p; p = next_token(p)) {
		uint32_t token = be32(p);

		if (token == NOP)
			continue;
		if (token != PROP)
			return false;
		uint32_t offset = be32(p + 8);

		if (offset + size <= (uint64_t)(strings_end - strings) && !memcmp(strings + offset, name, size)) {
			*property = (struct property){ p + 12, be32(p + 4) };
			return true;
		}
	}
	return false;
}

uint64_t fdt_number(struct property property, unsigned cell, unsigned cells)
{
	uint64_t value = 0;

	for (unsigned i = cell; i < cell + cells && 4 * (i + 1) <= property.size; i++)
		value = value << 32 | be32(property.data + 4 * i);
	return value;
}

unsigned fdt_cells(struct node parent, const char *name, unsigned otherwise)
{
	struct property property;

	return parent.at && fdt_get(parent, name, &property) ? (unsigned)fdt_number(property, 0, 1) : otherwise;
}

bool fdt_is(struct node node, const char *compatible)
{
	struct property property;

	if (!fdt_get(node, "compatible", &property))
		return false;
	for (uint32_t i = 0; i < property.size; ) {
		uint32_t size = 0;

		while (i + size < property.size && property.data[i + size])
			size++;
		if (size == strlen(compatible) && !memcmp(property.data + i, compatible, size))
			return true;
		i += size + 1;
	}
	return false;
}

bool fdt_available(struct node node)
{
	struct property property;

	if (!fdt_get(node, "status", &property))
		return true;
	return (property.size == 3 && !memcmp(property.data, "ok", 3)) ||
	       (property.size == 5 && !memcmp(property.data, "okay", 5));
}

struct node fdt_compatible_next(struct node after, const char *const *names)
{
	for (const uint8_t *p = next_token(after.at); p; p = next_token(p))
		if (be32(p) == BEGIN_NODE && fdt_available((struct node){ p }))
			for (const char *const *name = names; *name; name++)
				if (fdt_is((struct node){ p }, *name))
					return (struct node){ p };
	return (struct node){ NULL };
}

struct node fdt_compatible(const char *const *names)
{
	return fdt_compatible_next(fdt_root(), names);
}

bool fdt_register(struct node node, uint64_t *address, uint64_t *size)
{
	struct node bus = fdt_parent(node);
	struct property property;

	if (!bus.at || !fdt_get(node, "reg", &property))
		return false;
	unsigned cells = fdt_cells(bus, "#address-cells", 2);

	*address = fdt_number(property, 0, cells);
	if (size)
		*size = fdt_number(property, cells, fdt_cells(bus, "#size-cells", 1));

	for (struct node above; (above = fdt_parent(bus)).at; bus = above) {
		unsigned child = fdt_cells(bus, "#address-cells", 2);
		unsigned parent = fdt_cells(above, "#address-cells", 2);
		unsigned length = fdt_cells(bus, "#size-cells", 1), entry = child + parent + length;

		if (!fdt_get(bus, "ranges", &property))
			return false;
		bool found = property.size == 0;

		for (unsigned i = 0; !found && 4 * (i + entry) <= property.size; i += entry) {
			uint64_t from = fdt_number(property, i, child);

			if (*address - from < fdt_number(property, i + child + parent, length)) {
				*address = *address - from + fdt_number(property, i + child, parent);
				found = true;
			}
		}
		if (!found)
			return false;
	}
	return true;
}

bool fdt_dma_window(struct node node, uint64_t *bus_address, uint64_t *cpu_address, uint64_t *size)
{
	struct property property;

	for (struct node bus = fdt_parent(node), above; bus.at && (above = fdt_parent(bus)).at; bus = above) {
		if (!fdt_get(bus, "dma-ranges", &property) || property.size == 0)
			continue;
		unsigned child = fdt_cells(bus, "#address-cells", 2), parent = fdt_cells(above, "#address-cells", 2);

		*bus_address = fdt_number(property, 0, child);
		*cpu_address = fdt_number(property, child, parent);
		*size = fdt_number(property, child + parent, fdt_cells(bus, "#size-cells", 1));
		return true;
	}
	return false;
}
