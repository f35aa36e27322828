/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_STRING_H
#define LIB_STRING_H

#include "lib/types.h"

/* The four that gcc itself calls, as ISO C defines them. */
void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/* Whether s begins with prefix. */
bool str_starts(const char *s, const char *prefix);

/* Copies at most size - 1 characters and terminates; false when s did not fit. */
bool str_copy(char *dst, size_t size, const char *s);

#endif
