/* Little-endian numbers in a buffer that came from a disk, without alignment or casts. */
#ifndef BR_BYTES_H
#define BR_BYTES_H

#include <stdint.h>

static inline uint16_t br_load16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t br_load32(const uint8_t *at)
{
	return (uint32_t)br_load16(at) | (uint32_t)br_load16(at + 2) << 16;
}

static inline uint64_t br_load64(const uint8_t *at)
{
	return (uint64_t)br_load32(at) | (uint64_t)br_load32(at + 4) << 32;
}

static inline void br_store16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
}

static inline void br_store32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static inline void br_store64(uint8_t *at, uint64_t value)
{
	br_store32(at, (uint32_t)value);
	br_store32(at + 4, (uint32_t)(value >> 32));
}

#endif
