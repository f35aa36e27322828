/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/string.c defines the C library's own names. On the host it is compiled with this header in front, so that its functions exist
 * along with the C library's; test_string.c sees them under the same names.
 */
#ifndef TESTS_UNIT_STRING_NAMES_H
#define TESTS_UNIT_STRING_NAMES_H

#define memcpy	lib_memcpy
#define memmove lib_memmove
#define memset	lib_memset
#define memcmp	lib_memcmp
#define strlen	lib_strlen
#define strcmp	lib_strcmp
#define strncmp lib_strncmp

#endif
