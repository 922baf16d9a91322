#include "common.cu"

// Philox4x64-10 of Salmon et al. (2011), as numpy.random.Philox runs it: a thread makes
// one block of four words; those left over from the host's last block come first.

struct Stream { uint64 counter[4]; uint64 key[2]; uint64 buffer[4]; int64 left; };

DEVICE void philox(uint64 (&c)[4], uint64 k0, uint64 k1) {
    const uint64 m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
    for (int round = 0; round < 10; round++) {
        uint64 high0 = __umul64hi(m0, c[0]), low0 = m0 * c[0];
        uint64 high1 = __umul64hi(m1, c[2]), low1 = m1 * c[2];
        c[0] = high1 ^ c[1] ^ k0;
        c[1] = low1;
        c[2] = high0 ^ c[3] ^ k1;
        c[3] = low0;
        k0 += 0x9E3779B97F4A7C15ull;
        k1 += 0xBB67AE8584CAA73Bull;
    }
}

KERNEL void dropout_mask(int64 size, int threshold, double scale, Stream s, T* mask) {
    int64 block = position(), first = s.left + 4 * (block - 1);
    uint64 words[4], carry = (uint64)block;
    for (int k = 0; k < 4; k++) {
        words[k] = block == 0 ? s.buffer[k] : s.counter[k] + carry;
        carry = words[k] < carry;
    }
    if (block > 0) philox(words, s.key[0], s.key[1]);
    #pragma unroll
    for (int k = 0; k < 4; k++)
        #pragma unroll
        for (int part = 0; part < 4; part++) {
            int64 n = 4 * (first + k) + part;
            int bits = (int)(words[k] >> (16 * part) & 0xffff);
            bool is_in = n >= 0 && n < size;  // words used before come first
            if (is_in) store(mask + n, bits >= threshold ? (A)scale : (A)0);
        }
}
