/* What the C tests share: a check that names its place, and a random source with a seed. */
#ifndef BR_CHECK_H
#define BR_CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);  \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* xorshift64*: the same numbers on every machine. */
static inline uint64_t random_u64(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

/* The seed of this run: BR_TEST_SEED, or the given one; printed, so that a failure can be repeated.
 */
static inline uint64_t random_seed(uint64_t otherwise)
{
	const char *given = getenv("BR_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : otherwise;

	printf("seed %" PRIu64 "\n", seed);
	return seed ? seed : 1;
}

/* How many rounds: BR_TEST_ROUNDS, or the given number. */
static inline uint64_t random_rounds(uint64_t otherwise)
{
	const char *given = getenv("BR_TEST_ROUNDS");

	return given ? strtoull(given, NULL, 0) : otherwise;
}

#endif
