// SPDX-License-Identifier: GPL-2.0
/*
 * Gives a program the kernel's own cma_alloc() and cma_release() on the area that a
 * devicetree node names with memory-region, and times each call.
 */
#include <linux/cma.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/of_reserved_mem.h>
#include <linux/platform_device.h>
#include <linux/uaccess.h>

#include "cma_bench.h"

static struct cma *area;

static u64 ticks(void)
{
	u64 now;

	asm volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(now) : : "memory");
	return now;
}

static long bench_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct cma_bench_call call;
	u64 start;

	if (copy_from_user(&call, (void __user *)argument, sizeof(call)))
		return -EFAULT;
	if (command == CMA_BENCH_ALLOC) {
		struct page *page;

		start = ticks();
		page = cma_alloc(area, call.pages, call.align, true);
		call.ticks = ticks() - start;
		call.pfn = page ? page_to_pfn(page) : 0;
	} else if (command == CMA_BENCH_RELEASE) {
		start = ticks();
		if (!cma_release(area, pfn_to_page(call.pfn), call.pages))
			return -EINVAL;
		call.ticks = ticks() - start;
	} else {
		return -ENOTTY;
	}
	return copy_to_user((void __user *)argument, &call, sizeof(call)) ? -EFAULT : 0;
}

static const struct file_operations bench_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = bench_ioctl,
};

static struct miscdevice bench_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "gcma-bench",
	.fops = &bench_operations,
};

static int bench_probe(struct platform_device *pdev)
{
	int error = of_reserved_mem_device_init(&pdev->dev);

	if (error)
		return error;
	area = pdev->dev.cma_area;
	return area ? misc_register(&bench_device) : -ENODEV;
}

static const struct of_device_id bench_matches[] = { { .compatible = "gcma,cma-bench" }, {} };

static struct platform_driver bench_driver = {
	.probe = bench_probe,
	.driver = { .name = "gcma-bench", .of_match_table = bench_matches, .suppress_bind_attrs = true },
};

static int __init bench_init(void)
{
	return platform_driver_register(&bench_driver);
}
module_init(bench_init);

MODULE_DESCRIPTION("Times cma_alloc() and cma_release() for gcma");
MODULE_LICENSE("GPL");
