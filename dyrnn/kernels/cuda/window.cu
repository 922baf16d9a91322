#include "cells.cu"

// A whole window of a layer in one launch: of an LSTM with GATES 4, of a GRU whose reset
// comes after the product with 3, of a plain RNN with 1, whose activation RELU chooses.
// All blocks are on the device at once; after each step they wait for each other. A warp
// keeps a share of the recurrent matrix in registers, for each of the K columns of a
// lane: forward the gates of one unit, backward and for a plain RNN one gate of four
// units; if PACKED, as bfloat16, two to a register. It multiplies them by four sequences
// at a time, whose rows the block has copied to shared memory, padded with zeros to
// 32 K.

#define TILE 4
#define WIDTH (32 * K)
#define UNITS (GATES == 1 ? 4 : 1)  // of a warp, forward

// ``zero`` comes from memory, anew for each tile: or else the compiler would widen all
// numbers once, and keep them.
#if PACKED
struct Row { unsigned pairs[(K + 1) / 2]; };
DEVICE unsigned to_bfloat16(A x) {  // the nearest, or of two of them the even one
    if (x != x) return 0x7fc0;
    unsigned bits = __float_as_uint(x);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
DEVICE void set(Row& row, int k, A x) {
    if (k % 2) row.pairs[k / 2] |= to_bfloat16(x) << 16;
    else row.pairs[k / 2] = to_bfloat16(x);
}
DEVICE A get(const Row& row, int k, unsigned zero) {
    int bytes = k % 2 ? 0x7610 : 0x5410;
    return __uint_as_float(__byte_perm(zero, row.pairs[k / 2], bytes));
}
#else
struct Row { A values[K]; };
DEVICE void set(Row& row, int k, A x) { row.values[k] = x; }
DEVICE A get(const Row& row, int k, unsigned) { return row.values[k]; }
#endif

// Add 16 numbers up over the lanes of a warp; lane l gets the sum number l / 2. Sizes
// are known where the text is compiled, or else the numbers would not be in registers.
template <int HALF> DEVICE void fold(A (&v)[16], int lane) {
    bool is_upper = lane & (2 * HALF);
    #pragma unroll
    for (int i = 0; i < HALF; i++) {
        A mine = is_upper ? v[i + HALF] : v[i];
        A other = is_upper ? v[i] : v[i + HALF];
        v[i] = mine + __shfl_xor_sync(ALL_LANES, other, 2 * HALF);
    }
}
DEVICE A scattered_sum(A (&v)[16], int lane) {
    fold<8>(v, lane);
    fold<4>(v, lane);
    fold<2>(v, lane);
    fold<1>(v, lane);
    return v[0] + __shfl_xor_sync(ALL_LANES, v[0], 1);
}

// v[4 j + q] = w[q] . row b + j, this lane's share of it.
template <int N>
DEVICE void multiply(const Row (&w)[N], const A* rows, int stride, int b, int count,
                     int lane, const volatile unsigned* nought, A (&v)[16]) {
    unsigned zero = *nought;
    #pragma unroll
    for (int i = 0; i < 16; i++) v[i] = 0;
    const A* row[TILE];
    #pragma unroll
    for (int j = 0; j < TILE; j++)
        row[j] = rows + (b + j < count ? b + j : count - 1) * stride + lane;
    #pragma unroll
    for (int k = 0; k < K; k++) {
        A x[TILE];
        #pragma unroll
        for (int j = 0; j < TILE; j++) x[j] = row[j][32 * k];
        #pragma unroll
        for (int q = 0; q < N; q++) {
            A weight = get(w[q], k, zero);
            #pragma unroll
            for (int j = 0; j < TILE; j++) v[4 * j + q] += weight * x[j];
        }
    }
}

// Copy rows (count, H), which other blocks have just written, to shared memory, four
// loads at a time under way, of VECTOR numbers each.
#if VECTOR == 4
typedef float4 Vector;
DEVICE Vector fetch(const T* p) {
    T4 x = __ldcg((const T4*)p);
    return {widen(x.x), widen(x.y), widen(x.z), widen(x.w)};
}
#elif VECTOR == 2
typedef float2 Vector;
DEVICE Vector fetch(const T* p) {
    T2 x = __ldcg((const T2*)p);
    return {widen(x.x), widen(x.y)};
}
#else
typedef A Vector;
DEVICE Vector fetch(const T* p) { return load_fresh(p); }
#endif

DEVICE void stage(const T* from, int count, int H, A* rows) {
    const int width = WIDTH / VECTOR;
    Vector* to = (Vector*)rows;
    for (int start = threadIdx.x; start < count * width; start += 4 * blockDim.x) {
        Vector v[4];
        #pragma unroll
        for (int u = 0; u < 4; u++) {
            int i = start + u * blockDim.x, column = i % width * VECTOR;
            v[u] = Vector();
            if (i < count * width && column < H)
                v[u] = fetch(from + (int64)(i / width) * H + column);
        }
        #pragma unroll
        for (int u = 0; u < 4; u++) {
            int i = start + u * blockDim.x;
            if (i < count * width) to[i] = v[u];
        }
    }
}

DEVICE void wait_for_grid(unsigned* arrived, unsigned round) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1u);
        while (*(volatile unsigned*)arrived < round * gridDim.x) { PAUSE(); }
        __threadfence();
    }
    __syncthreads();
}

// Block: warps for ``units`` units, times ``groups``, which take turns with sequences.
// ``c`` is the state of an LSTM, (steps + 1, B, H), and what the reset gate of a GRU is
// multiplied by, (steps, B, H); ``b`` is part of that, and may be null.
KERNEL BOUND(THREADS) void
window(int steps, int B, int H, int units, int groups, int staged, const T* W,
       const T* b, const bool* mask, T* z, T* h, T* c, unsigned* arrived) {
    SHARED(A, rows);
    volatile unsigned* nought = (volatile unsigned*)(rows + staged * WIDTH);
    *nought = 0;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = units / UNITS;
    int unit0 = blockIdx.x * units + warp % warps * UNITS, group = warp / warps;
    Row w[GATES * UNITS];
    #pragma unroll
    for (int q = 0; q < GATES * UNITS; q++)
        #pragma unroll
        for (int k = 0; k < K; k++) {
            int column = lane + 32 * k, unit = unit0 + q % UNITS;
            bool is_in = unit < H && column < H;
            const T* p = W + ((int64)(q / UNITS) * H + unit) * H + column;
            set(w[q], k, is_in ? load(p) : (A)0);
        }
    for (int t = 0; t < steps; t++) {
        for (int first = 0; first < B; first += staged) {
            int count = B - first < staged ? B - first : staged;
            const T* from = h + ((int64)t * B + first) * H;
            __syncthreads();
            stage(from, count, H, rows);
            __syncthreads();
            for (int s = TILE * group; s < count; s += TILE * groups) {
                int j = lane / 8, q = lane / 2 % 4;
                int gate = q / UNITS, unit = unit0 + q % UNITS;
                bool is_on = unit < H && s + j < count;
                int64 n = (int64)t * B + first + s + j;
                int64 at = (n * GATES + gate) * H + unit;
                int64 now = n * H + unit, next = now + (int64)B * H;
#if !PACKED  // under way while the product is computed
                A input = is_on && gate < GATES ? load(z + at) : (A)0;
                A before = is_on && gate == 0 && GATES == 4 ? load(c + now) : (A)0;
#endif
                A v[16];
                multiply(w, rows, WIDTH, s, count, lane, nought, v);
                A sum = scattered_sum(v, lane);
#if PACKED  // there are no registers to spare
                A input = is_on && gate < GATES ? load(z + at) : (A)0;
                A before = is_on && gate == 0 && GATES == 4 ? load(c + now) : (A)0;
#endif
                bool is_kept = is_on && mask && !mask[n];
                A h_before = is_on ? rows[(s + j) * WIDTH + unit] : (A)0, h_next;
#if GATES == 4
                A y = gate == 2 ? tanh(sum + input) : sigmoid(sum + input);
                A i = __shfl_sync(ALL_LANES, y, 8 * j);
                A f = __shfl_sync(ALL_LANES, y, 8 * j + 2);
                A g = __shfl_sync(ALL_LANES, y, 8 * j + 4);
                A o = __shfl_sync(ALL_LANES, y, 8 * j + 6);
                if (is_on && lane % 8 == 0) {
                    A c_next = f * before + i * g;
                    h_next = o * tanh(c_next);
                    store(c + next, is_kept ? before : c_next);
                }
#elif GATES == 3
                A y = sigmoid(sum + input);
                A product = sum + (is_on && b ? load(b + unit) : (A)0);
                A r = __shfl_sync(ALL_LANES, y, 8 * j);
                A u = __shfl_sync(ALL_LANES, y, 8 * j + 2);
                if (gate == 2) y = tanh(input + r * product);
                if (is_on && lane % 8 == 4) store(c + now, product);
                h_next = __shfl_sync(ALL_LANES, y, 8 * j + 4);
                h_next = (1 - u) * h_next + u * h_before;
#else
                h_next = activation(sum + input, RELU);
#endif
#if GATES > 1
                if (is_on && lane % 2 == 0 && gate < GATES) store(z + at, y);
#endif
                if (is_on && lane % 2 == 0 && gate == 0)
                    store(h + next, is_kept ? h_before : h_next);
            }
        }
        if (t + 1 < steps) wait_for_grid(arrived, t + 1);
    }
}

// Block: ``units`` units, a warp for each gate of each four of them, times ``groups``,
// for the product; then a thread for each unit and sequence. ``rest`` and, for an LSTM,
// gc, (B, H), are carried from step to step by the thread that owns a place; a GRU has
// ga, the gradients of the product, as well as gz.
KERNEL BOUND(THREADS) void
window_backward(int steps, int B, int H, int units, int groups, int staged, const T* W,
                const bool* mask, const T* gates, const T* c, const T* h, const T* gh,
                T* gz, T* ga, A* gc, A* rest, unsigned* arrived) {
    SHARED(A, rows);
    A* parts = rows + staged * GATES * WIDTH;  // of each gate, sequence and unit
    volatile unsigned* nought = (volatile unsigned*)(parts + staged * GATES * units);
    *nought = 0;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = units / 4 * GATES;
    int gate = warp % GATES, group = warp / warps, four = warp % warps / GATES * 4;
    int unit0 = blockIdx.x * units;
    const T* into = GATES == 3 ? ga : gz;
    Row w[4];
    #pragma unroll
    for (int k = 0; k < K; k++)
        #pragma unroll
        for (int q = 0; q < 4; q++) {
            int column = lane + 32 * k, unit = unit0 + four + q;
            bool is_in = unit < H && column < H;
            const T* p = W + ((int64)gate * H + column) * H + unit;
            set(w[q], k, is_in ? load(p) : (A)0);
        }
    for (int t = steps - 1; t >= 0; t--) {
        bool has_later = t + 1 < steps;
        for (int first = 0; first < B; first += staged) {
            int count = B - first < staged ? B - first : staged;
            __syncthreads();
            int64 from = ((int64)(t + 1) * B + first) * GATES * H;
            if (has_later) stage(into + from, count * GATES, H, rows);
            __syncthreads();
            for (int s = TILE * group; has_later && s < count; s += TILE * groups) {
                A v[16];
                const A* mine = rows + gate * WIDTH;
                multiply(w, mine, GATES * WIDTH, s, count, lane, nought, v);
                A sum = scattered_sum(v, lane);
                int j = s + lane / 8, q = lane / 2 % 4;
                if (lane % 2 == 0 && j < count)
                    parts[(gate * staged + j) * units + four + q] = sum;
            }
            __syncthreads();
            for (int p = threadIdx.x; p < count * units; p += blockDim.x) {
                int unit = unit0 + p % units;
                if (unit >= H) continue;
                int64 owned = (int64)(first + p / units) * H + unit;
                int64 n = (int64)t * B + first + p / units, now = n * H + unit;
                int64 at = n * GATES * H + unit;
                A dh = (gh ? load(gh + now) : (A)0) + rest[owned];
                if (has_later)
                    for (int q = 0; q < GATES; q++) dh += parts[q * staged * units + p];
                bool is_on = !mask || mask[n];
#if GATES == 4
                A y = tanh(load(c + now + (int64)B * H)), before = load(c + now);
                gc[owned] = lstm_gradients(gates, at, H, y, before, dh, gc[owned],
                                           is_on, gz);
                rest[owned] = is_on ? (A)0 : dh;
#elif GATES == 3
                rest[owned] = gru_gradients(gates, at, H, load(c + now), load(h + now),
                                            dh, is_on, gz, ga);
#else
                A slope = slope_at(load(h + now + (int64)B * H), RELU);
                store(gz + at, is_on ? dh * slope : (A)0);
                rest[owned] = is_on ? (A)0 : dh;
#endif
            }
        }
        if (t > 0) wait_for_grid(arrived, steps - t);
    }
}
