/* The few things a freestanding program lacks. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB 1024ul
#define MIB (1024ul * KIB)
#define GIB (1024ul * MIB)
#define PAGE (4 * KIB)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *s);
bool same(const char *a, const char *b);
bool starts(const char *s, const char *prefix);

/* %s %c %d %u %x, each also with l; always ends the text, cuts what does not fit */
void format_list(char *to, size_t size, const char *format, va_list values);
__attribute__((format(printf, 3, 4)))
void format(char *to, size_t size, const char *format, ...);

static inline uint32_t read32(uint64_t address) { return *(volatile uint32_t *)address; }
static inline void write32(uint64_t address, uint32_t value) { *(volatile uint32_t *)address = value; }
static inline uint64_t read64(uint64_t address) { return *(volatile uint64_t *)address; }
static inline void write64(uint64_t address, uint64_t value) { *(volatile uint64_t *)address = value; }
static inline void barrier(void) { __asm__ volatile("dsb sy" ::: "memory"); }
static inline uint64_t ticks(void)
{
	uint64_t value;
	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value));
	return value;
}
static inline uint64_t ticks_per_second(void)
{
	uint64_t value;
	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
	return value;
}

/* Ordinary memory of the firmware's own, forgotten when a case ends. */
uint64_t scratch_take(uint64_t size, uint64_t align);
void scratch_reset(void);

struct context { uint64_t registers[13]; };
int context_save(struct context *where) __attribute__((returns_twice));
_Noreturn void context_restore(struct context *where);
_Noreturn void park_core(void);
