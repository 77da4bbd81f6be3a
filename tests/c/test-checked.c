/* checked.h against arithmetic in 128 bits. */
#include "check.h"
#include "checked.h"

__extension__ typedef unsigned __int128 u128;

static const uint64_t edges[] = {
	0,
	1,
	2,
	UINT32_MAX - 1,
	UINT32_MAX,
	UINT64_C(1) + UINT32_MAX,
	INT64_MAX,
	UINT64_C(1) << 63,
	UINT64_MAX - 1,
	UINT64_MAX,
};
#define EDGE_COUNT (sizeof(edges) / sizeof(edges[0]))

static void check_pair(uint64_t a, uint64_t b)
{
	const uint64_t untouched = UINT64_C(0x5a5a5a5a5a5a5a5a);
	uint64_t out = untouched;
	u128 sum = (u128)a + b;
	u128 product = (u128)a * b;

	CHECK(br_add_u64(a, b, &out) == (sum <= UINT64_MAX));
	CHECK(out == (sum <= UINT64_MAX ? (uint64_t)sum : untouched));
	out = untouched;
	CHECK(br_mul_u64(a, b, &out) == (product <= UINT64_MAX));
	CHECK(out == (product <= UINT64_MAX ? (uint64_t)product : untouched));
}

int main(void)
{
	uint64_t state = random_seed(1);
	uint64_t rounds = random_rounds(200000);

	for (size_t i = 0; i < EDGE_COUNT; i++)
		for (size_t j = 0; j < EDGE_COUNT; j++)
			check_pair(edges[i], edges[j]);
	for (uint64_t round = 0; round < rounds; round++) {
		uint64_t a = random_u64(&state) >> (random_u64(&state) % 64);
		uint64_t b = random_u64(&state) >> (random_u64(&state) % 64);
		check_pair(a, b);
	}
	return 0;
}
