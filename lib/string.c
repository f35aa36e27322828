/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/string.h"

/*
 * String instructions and not loops: gcc would turn a loop into a call of the very function that it stands in. By words first,
 * because an emulated CPU takes them one at a time.
 */
void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	void *d = dst;
	size_t words = n / 8, rest = n % 8;

	__asm__ volatile("rep movsq; mov %3, %2; rep movsb" : "+&D"(d), "+&S"(src), "+&c"(words) : "r"(rest) : "memory");
	return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
	u8 *d = (u8 *)dst + n;
	const u8 *s = (const u8 *)src + n;

	if ((uintptr_t)dst - (uintptr_t)src >= n)
		return memcpy(dst, src, n);
	while (d != (u8 *)dst) {
		*--d = *--s;
		__asm__ volatile("" : : : "memory");
	}
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	void *d = dst;
	size_t words = n / 8, rest = n % 8;

	__asm__ volatile("rep stosq; mov %2, %1; rep stosb"
			 : "+&D"(d), "+&c"(words)
			 : "r"(rest), "a"((u8)c * 0x0101010101010101ULL)
			 : "memory");
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	const char *p = s;

	while (*p)
		p++;
	return (size_t)(p - s);
}

int strcmp(const char *a, const char *b)
{
	return strncmp(a, b, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++)
		if (*a != *b || !*a)
			return (u8)*a - (u8)*b;
	return 0;
}

bool str_starts(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

bool str_copy(char *dst, size_t size, const char *s)
{
	size_t n = strlen(s);
	size_t fit = MIN(n, size - 1);

	memcpy(dst, s, fit);
	dst[fit] = '\0';
	return fit == n;
}
