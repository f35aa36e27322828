/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/sha256.h"

#include "lib/format.h"
#include "lib/string.h"

#define BLOCK SHA256_BLOCK

/* FIPS 180-4, 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const u32 k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
	0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
	0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
	0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
	0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static u32 rotr(u32 v, int n)
{
	return v >> n | v << (32 - n);
}

static u32 load_be32(const u8 *p)
{
	return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

/*
 * 6.2.2, step 3: one round. The standard shifts a..h by one each round; here the names shift, and the values stay. Its functions
 * are written with fewer operations: each rotation continues from the one before it, and Ch and Maj do with one AND less.
 */
static inline __attribute__((always_inline)) void hash_round(u32 a, u32 b, u32 c, u32 *d, u32 e, u32 f, u32 g, u32 *h, u32 kw)
{
	*h += rotr(rotr(rotr(e, 25 - 11) ^ e, 11 - 6) ^ e, 6) + (((f ^ g) & e) ^ g) + kw;
	*d += *h;
	*h += rotr(rotr(rotr(a, 22 - 13) ^ a, 13 - 2) ^ a, 2) + ((a & b) | ((a | b) & c));
}

static void hash_block(u32 v[8], const u8 *p)
{
	u32 a = v[0], b = v[1], c = v[2], d = v[3], e = v[4], f = v[5], g = v[6], h = v[7];
	u32 w[64];

	for (int t = 0; t < 16; t++)
		w[t] = load_be32(p + t * 4);
	for (int t = 16; t < 64; t++) {
		u32 s0 = rotr(w[t - 15], 7) ^ rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
		u32 s1 = rotr(w[t - 2], 17) ^ rotr(w[t - 2], 19) ^ w[t - 2] >> 10;

		w[t] = w[t - 16] + s0 + w[t - 7] + s1;
	}
	for (int t = 0; t < 64; t += 8) {
		hash_round(a, b, c, &d, e, f, g, &h, k[t] + w[t]);
		hash_round(h, a, b, &c, d, e, f, &g, k[t + 1] + w[t + 1]);
		hash_round(g, h, a, &b, c, d, e, &f, k[t + 2] + w[t + 2]);
		hash_round(f, g, h, &a, b, c, d, &e, k[t + 3] + w[t + 3]);
		hash_round(e, f, g, &h, a, b, c, &d, k[t + 4] + w[t + 4]);
		hash_round(d, e, f, &g, h, a, b, &c, k[t + 5] + w[t + 5]);
		hash_round(c, d, e, &f, g, h, a, &b, k[t + 6] + w[t + 6]);
		hash_round(b, c, d, &e, f, g, h, &a, k[t + 7] + w[t + 7]);
	}
	v[0] += a, v[1] += b, v[2] += c, v[3] += d, v[4] += e, v[5] += f, v[6] += g, v[7] += h;
}

void sha256_init(struct sha256_state *state)
{
	/* 5.3.3: of the square roots of the first 8 primes. */
	*state = (struct sha256_state){ .hash = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
						  0x1f83d9ab, 0x5be0cd19 } };
}

void sha256_update(struct sha256_state *state, const void *data, u64 size)
{
	const u8 *p = data;

	while (size) {
		u64 at = state->size % BLOCK, n = MIN(size, BLOCK - at);

		if (n < BLOCK)
			memcpy(state->rest + at, p, n);
		if (at + n == BLOCK)
			hash_block(state->hash, n < BLOCK ? state->rest : p);
		state->size += n;
		p += n;
		size -= n;
	}
}

void sha256_final(struct sha256_state *state, char hex[SHA256_HEX_SIZE])
{
	/* 5.1.1: a 1 bit, zeros, and the length in bits as the last 8 bytes of a block. */
	static const u8 padding[BLOCK] = { 0x80 };
	u64 bits = __builtin_bswap64(state->size * 8);

	sha256_update(state, padding, 1 + (2 * BLOCK - sizeof(bits) - 1 - state->size % BLOCK) % BLOCK);
	sha256_update(state, &bits, sizeof(bits));
	for (int i = 0; i < 8; i++)
		format(hex + 8 * i, 9, "%08x", state->hash[i]);
}

void sha256(const void *data, u64 size, char hex[SHA256_HEX_SIZE])
{
	struct sha256_state state;

	sha256_init(&state);
	sha256_update(&state, data, size);
	sha256_final(&state, hex);
}

bool sha256_listed(const char *sums, u64 size, const char *path, char hex[SHA256_HEX_SIZE])
{
	const u64 digits = SHA256_HEX_SIZE - 1, name = digits + 2, path_size = strlen(path);

	while (size) {
		u64 line = 0;

		while (line < size && sums[line] != '\n')
			line++;
		if (line == name + path_size && !memcmp(sums + name, path, path_size)) {
			memcpy(hex, sums, digits);
			hex[digits] = '\0';
			return true;
		}
		if (line < size)
			line++;
		sums += line;
		size -= line;
	}
	return false;
}
