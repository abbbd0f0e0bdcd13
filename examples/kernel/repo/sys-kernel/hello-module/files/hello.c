// SPDX-License-Identifier: GPL-2.0
/* A module that says which kernel it was built for. */

#include <linux/init.h>
#include <linux/module.h>
#include <generated/utsrelease.h>

static int __init hello_init(void)
{
	pr_info("hello from a module for " UTS_RELEASE "\n");
	return 0;
}

static void __exit hello_exit(void)
{
	pr_info("hello says goodbye\n");
}

module_init(hello_init);
module_exit(hello_exit);

MODULE_DESCRIPTION("Says hello");
MODULE_LICENSE("GPL");
