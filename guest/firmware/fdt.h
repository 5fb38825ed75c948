/* Reads a flattened devicetree in place (Devicetree Specification, chapter 5). */
#pragma once
#include "lib.h"

enum { FDT_DEPTH = 16 };

struct property { const uint8_t *data; uint32_t size; };

/* A node and the cells that count for it; `at` is its FDT_BEGIN_NODE. */
struct node { const uint8_t *at; };

bool fdt_open(uint64_t address);	/* false: no devicetree there, or damaged bounds */
uint32_t fdt_size(void);
struct node fdt_root(void);
struct node fdt_path(const char *path);	/* at == 0: none */
struct node fdt_first_child(struct node node);
struct node fdt_next_sibling(struct node node);
struct node fdt_compatible(const char *const *names);	/* list ended by null; first in document order */
struct node fdt_compatible_next(struct node after, const char *const *names);
const char *fdt_name(struct node node);
bool fdt_is(struct node node, const char *compatible);
bool fdt_available(struct node node);
bool fdt_get(struct node node, const char *name, struct property *property);
uint64_t fdt_number(struct property property, unsigned cell, unsigned cells);
unsigned fdt_cells(struct node parent, const char *name, unsigned otherwise);
struct node fdt_parent(struct node node);

/* The CPU address of `reg` entry 0, through the `ranges` of every bus above; size may be null. */
bool fdt_register(struct node node, uint64_t *address, uint64_t *size);

/* bus = cpu + *offset for the first window of the nearest `dma-ranges` above. */
bool fdt_dma_window(struct node node, uint64_t *bus, uint64_t *cpu, uint64_t *size);
