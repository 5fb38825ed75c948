// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the script /script on the board's Linux and prints one line for each call of CMA:
 *
 *   alloc SLOT PAGES ORDER   cma_alloc() through /dev/gcma-bench
 *   free SLOT                cma_release() of what the slot holds, if it does
 *   map SLOT MIB             fill memory with anonymous pages
 *   unmap SLOT               give them back, and those in pipes
 *   thp always|never         whether they come in folios of 2 MiB, where they can
 *   pin SLOT PAGES           lend some of them to pipes: nobody can move their folios then
 *   file MIB                 a file in tmpfs: page cache that can be moved, but not dropped
 *   load PATH                a module of the kernel's, packed by xz
 *   mount IMAGE FOLDER       an ext4 file system in a file, read-only
 *   read PATH                a file, from beginning to end
 *   sleep MS                 let the kernel finish what it does in the background
 *   trace 0|1                the kernel's events of CMA and the page cache
 *   show PATH                a file, for the host
 */
#include "sys.h"
#include "cma_bench.h"

enum {
	SYS_FCNTL = 25, SYS_PIPE2 = 59, SYS_PREAD64 = 67, SYS_VMSPLICE = 75, SYS_MUNMAP = 215, SYS_MMAP = 222, SYS_FINIT_MODULE = 273,
	O_CREAT = 0100, F_SETPIPE_SZ = 1031, PAGE = 4096, SLOTS = 4096, PIPE_PAGES = 256,
};

#define MIB 1048576ul

static struct cma_bench_call calls[SLOTS];
static struct { char *at; size_t size; } maps[16];
static int pipes[64][2];
static unsigned pipe_count;
static uint64_t seed = 88172645463325252ull;

static size_t length(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	return n;
}

/* What is said is kept to the end: printing would keep the processors busy during the calls. */
static char said[1 << 20];
static size_t said_size;

static void flush(void)
{
	for (size_t at = 0; at < said_size;) {
		long n = SYS3(SYS_WRITE, 1, said + at, said_size - at);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	said_size = 0;
}

static void say(const char *text)
{
	while (*text && said_size < sizeof said)
		said[said_size++] = *text++;
}

static void say_number(uint64_t number)
{
	char text[24], *at = text + sizeof text;

	*--at = 0;
	do
		*--at = (char)('0' + number % 10);
	while (number /= 10);
	say(at);
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static uint64_t number(const char *text)
{
	uint64_t value = 0;

	while (*text >= '0' && *text <= '9')
		value = value * 10 + (uint64_t)(*text++ - '0');
	return value;
}

static long open_file(const char *path, int flags)
{
	return SYS4(SYS_OPENAT, AT_FDCWD, path, flags, 0600);
}

static void put(const char *path, const char *text)
{
	long file = open_file(path, O_WRONLY);

	SYS3(SYS_WRITE, file, text, length(text));
	SYS1(SYS_CLOSE, file);
}

static void show(const char *path)
{
	static char buffer[65536];
	long file = open_file(path, O_RDONLY), n;

	say("@@ file ");
	say(path);
	say("\n");
	while ((n = SYS3(SYS_READ, file, buffer, sizeof buffer)) > 0) {
		if (said_size + (size_t)n > sizeof said)
			flush();
		for (long i = 0; i < n; i++)
			said[said_size++] = buffer[i];
	}
	SYS1(SYS_CLOSE, file);
	say("@@ end\n");
}

static void told(const char *what, uint64_t slot, const struct cma_bench_call *call)
{
	say("@@ ");
	say(what);
	say(" ");
	say_number(slot);
	say(" ");
	say_number(call->pfn);
	say(" ");
	say_number(call->ticks);
	say("\n");
}

static void map(uint64_t slot, size_t size)
{
	/* MAP_PRIVATE, MAP_ANONYMOUS */
	long at = syscall6(SYS_MMAP, 0, (long)size, 3, 0x22, -1, 0);

	if (at < 0 && at > -4096) {
		say("@@ failed map\n");
		return;
	}
	maps[slot].at = (char *)at;
	maps[slot].size = size;
	for (size_t i = 0; i < size; i += PAGE)
		maps[slot].at[i] = 1;
}

static bool read_at(long file, uint64_t index, uint64_t *entries, size_t count)
{
	size_t size = count * sizeof *entries;

	return SYS4(SYS_PREAD64, file, entries, size, index * sizeof *entries) == (long)size;
}

/*
 * Where the folio of a page of ours lies, and of how many pages it is, for the host
 * (Documentation/admin-guide/mm/pagemap.rst). None is larger than a pageblock, and all are aligned to their size.
 */
static void say_folio(const char *page)
{
	enum { BLOCK = 512, TAIL = 1 << 16 };
	static uint64_t flags[BLOCK];
	static long pagemap = -1, kpageflags;
	uint64_t entry, pfn, first, end;

	if (pagemap < 0) {
		pagemap = open_file("/proc/self/pagemap", O_RDONLY);
		kpageflags = open_file("/proc/kpageflags", O_RDONLY);
	}
	if (!read_at(pagemap, (uintptr_t)page / PAGE, &entry, 1)) {
		say("@@ failed pagemap\n");
		return;
	}
	pfn = entry & ((1ull << 55) - 1);
	if (!read_at(kpageflags, pfn - pfn % BLOCK, flags, BLOCK)) {
		say("@@ failed kpageflags\n");
		return;
	}
	for (first = pfn % BLOCK; first && flags[first] & TAIL;)
		first--;
	for (end = pfn % BLOCK + 1; end < BLOCK && flags[end] & TAIL;)
		end++;
	say("@@ pinned ");
	say_number(pfn - pfn % BLOCK + first);
	say(" ");
	say_number(end - first);
	say("\n");
}

/* What was lent to pipes comes back. */
static void unpin(void)
{
	if (pipe_count)
		say("@@ unpinned\n");
	while (pipe_count) {
		pipe_count--;
		SYS1(SYS_CLOSE, pipes[pipe_count][0]);
		SYS1(SYS_CLOSE, pipes[pipe_count][1]);
	}
}

static void pin(uint64_t slot, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++) {
		struct { void *base; size_t size; } vector;

		if (i % PIPE_PAGES == 0) {
			if (pipe_count == sizeof pipes / sizeof *pipes || SYS2(SYS_PIPE2, pipes[pipe_count], 0) < 0) {
				say("@@ failed pin\n");
				return;
			}
			SYS3(SYS_FCNTL, pipes[pipe_count][1], F_SETPIPE_SZ, PIPE_PAGES * PAGE);
			pipe_count++;
		}
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		vector.base = maps[slot].at + seed % (maps[slot].size / PAGE) * PAGE;
		vector.size = PAGE;
		if (SYS4(SYS_VMSPLICE, pipes[pipe_count - 1][1], &vector, 1, 0) != PAGE)
			say("@@ failed pin\n");
		say_folio(vector.base);
	}
}

static void fill_file(uint64_t mib)
{
	static char buffer[65536];
	long file = open_file("/tmp/file", O_WRONLY | O_CREAT);

	for (uint64_t i = 0; i < mib * MIB; i += sizeof buffer)
		if (SYS3(SYS_WRITE, file, buffer, sizeof buffer) != sizeof buffer) {
			say("@@ failed file\n");
			break;
		}
	SYS1(SYS_CLOSE, file);
}

static void load(const char *path)
{
	long file = open_file(path, O_RDONLY);
	long error = SYS3(SYS_FINIT_MODULE, file, "", 4 /* MODULE_INIT_COMPRESSED_FILE */);

	if (error) {
		say("@@ failed load, errno ");
		say_number((uint64_t)-error);
		say("\n");
	}
	SYS1(SYS_CLOSE, file);
}

static void mount_image(const char *image, const char *folder)
{
	long loop = open_file("/dev/loop0", O_RDWR), file = open_file(image, O_RDWR);

	if (SYS3(SYS_IOCTL, loop, 0x4c00 /* LOOP_SET_FD */, file) ||
	    SYS5(SYS_MOUNT, "/dev/loop0", folder, "ext4", 1 /* MS_RDONLY */, 0))
		say("@@ failed mount\n");
}

static void read_file(const char *path)
{
	static char buffer[65536];
	long file = open_file(path, O_RDONLY), n;

	while ((n = SYS3(SYS_READ, file, buffer, sizeof buffer)) > 0)
		;
	if (n < 0)
		say("@@ failed read\n");
	SYS1(SYS_CLOSE, file);
}

static void trace(bool on)
{
	if (on) {
		put("/sys/kernel/tracing/trace_clock", "mono");
		put("/sys/kernel/tracing/buffer_size_kb", "16384");
		put("/sys/kernel/tracing/events/cma/enable", "1");
		put("/sys/kernel/tracing/events/filemap/mm_filemap_add_to_page_cache/enable", "1");
		put("/sys/kernel/tracing/events/filemap/mm_filemap_delete_from_page_cache/enable", "1");
	}
	put("/sys/kernel/tracing/tracing_on", on ? "1" : "0");
}

static void step(long device, char **words)
{
	uint64_t slot = number(words[1]) % SLOTS;
	struct cma_bench_call *call = &calls[slot];

	if (same(words[0], "alloc")) {
		call->pages = number(words[2]);
		call->align = number(words[3]);
		SYS3(SYS_IOCTL, device, CMA_BENCH_ALLOC, call);
		told("alloc", slot, call);
	} else if (same(words[0], "free")) {
		if (!call->pfn)
			return;
		SYS3(SYS_IOCTL, device, CMA_BENCH_RELEASE, call);
		told("free", slot, call);
		call->pfn = 0;
	} else if (same(words[0], "map")) {
		map(slot % 16, number(words[2]) * MIB);
	} else if (same(words[0], "unmap")) {
		unpin();
		SYS2(SYS_MUNMAP, maps[slot % 16].at, maps[slot % 16].size);
	} else if (same(words[0], "pin")) {
		pin(slot % 16, number(words[2]));
	} else if (same(words[0], "thp")) {
		put("/sys/kernel/mm/transparent_hugepage/enabled", words[1]);
	} else if (same(words[0], "file")) {
		fill_file(number(words[1]));
	} else if (same(words[0], "load")) {
		load(words[1]);
	} else if (same(words[0], "mount")) {
		mount_image(words[1], words[2]);
	} else if (same(words[0], "read")) {
		read_file(words[1]);
	} else if (same(words[0], "sleep")) {
		struct { long seconds, nanoseconds; } time = { (long)(number(words[1]) / 1000), 0 };

		time.nanoseconds = (long)(number(words[1]) % 1000) * 1000000;
		SYS2(SYS_NANOSLEEP, &time, 0);
	} else if (same(words[0], "trace")) {
		trace(number(words[1]));
	} else if (same(words[0], "show")) {
		show(words[1]);
	} else {
		say("@@ failed: no such step\n");
	}
}

void start(void)
{
	static char script[1 << 20];
	long module = open_file("/cma_bench.ko", O_RDONLY), device, error;
	long file = open_file("/script", O_RDONLY);
	long size = SYS3(SYS_READ, file, script, sizeof script - 1);

	error = SYS3(SYS_FINIT_MODULE, module, "", 0);
	device = open_file("/dev/gcma-bench", O_RDWR);
	if (device < 0) {
		say("@@ failed: no /dev/gcma-bench, finit_module: errno ");
		say_number((uint64_t)-error);
		say("\n");
	}
	for (char *at = script; device >= 0 && at < script + size;) {
		char *words[4] = { "", "", "", "" };

		for (int i = 0; *at && *at != '\n';) {
			if (*at == ' ') {
				*at++ = 0;
				continue;
			}
			if (i < 4)
				words[i++] = at;
			while (*at && *at != ' ' && *at != '\n')
				at++;
		}
		*at++ = 0;
		if (*words[0])
			step(device, words);
	}
	flush();
	SYS1(SYS_EXIT, 0);
}

__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tb start\n");
