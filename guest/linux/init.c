// SPDX-License-Identifier: GPL-2.0
/*
 * The first process of the emulated board's Linux. With "gcma=report" on the kernel's
 * command line it prints what the kernel tells of its memory, with "gcma=bench" it runs
 * /bench; else it starts a shell.
 * The board has nothing that switches it off, so the last line asks the host to.
 */
#include "sys.h"

#define OFF "@@ gcma off\n"

/* the prompt is what the host waits for before it types the next line of a pipe */
static char *environment[] = { "PATH=/bin", "HOME=/", "TERM=linux", "PS1=linux# ", NULL };

static size_t length(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	return n;
}

static void say(const char *text)
{
	SYS3(SYS_WRITE, 1, text, length(text));
}

static bool contains(const char *text, const char *word)
{
	size_t n = length(word);

	for (; *text; text++) {
		size_t i = 0;

		while (i < n && text[i] == word[i])
			i++;
		if (i == n)
			return true;
	}
	return false;
}

static long open_file(const char *path, int flags)
{
	return SYS4(SYS_OPENAT, AT_FDCWD, path, flags, 0);
}

/* All of a file, with a heading that tells the host where it begins. */
static void show(const char *path)
{
	static char buffer[4096];
	long file = open_file(path, O_RDONLY), n;

	if (file < 0)
		return;
	say("@@ file ");
	say(path);
	say("\n");
	while ((n = SYS3(SYS_READ, file, buffer, sizeof buffer)) > 0)
		SYS3(SYS_WRITE, 1, buffer, n);
	SYS1(SYS_CLOSE, file);
	say("\n");
}

static char *append(char *at, const char *text)
{
	while ((*at = *text++))
		at++;
	return at;
}

/* Some files of every folder in a folder. */
static void show_each(const char *folder, const char *const *names)
{
	static char entries[8192], path[512];
	long file = open_file(folder, O_RDONLY), n;

	if (file < 0)
		return;
	while ((n = SYS3(SYS_GETDENTS64, file, entries, sizeof entries)) > 0)
		for (char *at = entries; at < entries + n; at += *(uint16_t *)(at + 16)) {
			const char *name = at + 19; /* struct linux_dirent64 */

			if (name[0] == '.' || length(folder) + length(name) > 400)
				continue;
			for (const char *const *each = names; *each; each++) {
				append(append(append(append(append(path, folder), "/"), name), "/"), *each);
				show(path);
			}
		}
	SYS1(SYS_CLOSE, file);
}

static void report(void)
{
	static const char *const sysfs[] = { "total_pages", "available_pages", NULL };
	static const char *const debugfs[] = { "base_pfn", "count", NULL };

	show("/proc/version");
	show("/proc/iomem");
	show("/proc/meminfo");
	show("/proc/zoneinfo");
	show_each("/sys/kernel/mm/cma", sysfs);
	show_each("/sys/kernel/debug/cma", debugfs);
}

static void mount(const char *type, const char *folder)
{
	SYS3(SYS_MKDIRAT, AT_FDCWD, folder, 0755);
	SYS5(SYS_MOUNT, type, folder, type, 0, 0);
}

/* Runs a program and waits for it; how it ended, as wait() tells it. */
static int run(char *const *words, bool terminal)
{
	int status;
	long child = SYS5(SYS_CLONE, SIGCHLD, 0, 0, 0, 0);

	if (child == 0) {
		if (terminal) { /* Ctrl-C needs it; its owner's end throws away what is not yet printed */
			SYS1(SYS_SETSID, 0);
			SYS3(SYS_IOCTL, open_file("/dev/ttyAMA0", O_RDWR), TIOCSCTTY, 1);
		}
		SYS3(SYS_EXECVE, words[0], words, environment);
		say("init: no such program\n");
		SYS1(SYS_EXIT, 127);
	}
	/* orphans come to us as well */
	while (SYS4(SYS_WAIT4, -1, &status, 0, 0) != child)
		;
	return status;
}

static void bench(void)
{
	char *words[] = { "/bench", NULL };

	SYS5(SYS_MOUNT, "tmpfs", "/tmp", "tmpfs", 0, "size=90%");
	mount("tracefs", "/sys/kernel/tracing");
	if (run(words, false))
		say("@@ failed: /bench did not end well\n");
}

static void shell(void)
{
	char *install[] = { "/bin/busybox", "--install", "-s", "/bin", NULL };
	char *words[] = { "/bin/sh", NULL };

	mount("debugfs", "/sys/kernel/debug");
	mount("tracefs", "/sys/kernel/tracing");
	run(install, false);
	say("\ngcma: a shell on Linux; 'exit' powers off\n");
	run(words, true);
}

void start(void)
{
	static char command[4096];
	long file;

	mount("proc", "/proc");
	mount("sysfs", "/sys");
	mount("devtmpfs", "/dev");
	file = open_file("/proc/cmdline", O_RDONLY);
	SYS3(SYS_READ, file, command, sizeof command - 1);
	SYS1(SYS_CLOSE, file);
	if (contains(command, "gcma=report")) {
		mount("debugfs", "/sys/kernel/debug");
		report();
	} else if (contains(command, "gcma=bench")) {
		bench();
	} else {
		shell();
	}
	say(OFF);
	for (;;)
		SYS4(SYS_WAIT4, -1, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tb start\n");
