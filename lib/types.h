/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_TYPES_H
#define LIB_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Linux's short names: u64 is `unsigned long` on x86-64, so it prints with %lx. */
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define ARRAY_SIZE(a)  (sizeof(a) / sizeof((a)[0]))
#define ALIGN_UP(x, a) (((x) + (a)-1) & ~((u64)(a)-1)) /* a: a power of two */
#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define KIB	       1024UL
#define MIB	       (1024UL * KIB)
#define GIB	       (1024UL * MIB)
#define PAGE_SIZE      4096UL

#endif
