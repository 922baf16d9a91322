// Runs CUDA kernels on the host: a fiber for each thread, switched where they wait.
// Blocks run one after the other, or all together where they wait for each other; then
// warps sleep at random, so that missing barriers can show as differences.
#define EMULATED
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <ucontext.h>
#include <utility>
#include <vector>
using std::exp; using std::isfinite; using std::log; using std::sqrt; using std::tanh;

struct ushort2 { unsigned short x, y; };
struct ushort4 { unsigned short x, y, z, w; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
static const double GUARD = 1 / 3.0;  // what stays behind a block's shared memory
struct Index { unsigned x; };
struct Barrier { unsigned arrived = 0, generation = 0; };
struct Warp { Barrier barrier; char slots[32][8]; };
struct Block {
    Barrier barrier;
    std::vector<Warp> warps;
    std::vector<double> shared;
};
struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    Index thread, block;
    Block* home;
    bool is_done = false;
};

static Index blockDim, gridDim;
static Fiber* current;
static ucontext_t scheduler;
static std::function<void()> body;
static const char* fault;  // what a GPU would have stopped at, or not noticed
#define threadIdx (current->thread)
#define blockIdx (current->block)

static void pause() { swapcontext(&current->context, &scheduler); }
static void wait(Barrier& barrier, unsigned count) {
    unsigned generation = barrier.generation;
    if (++barrier.arrived == count) {
        barrier.arrived = 0;
        barrier.generation++;
    } else {
        while (barrier.generation == generation) pause();
    }
}
static void enter() {
    body();
    current->is_done = true;
    pause();
}

static void run(unsigned first, unsigned last, unsigned threads, int shared) {
    const size_t size = 1 << 16;
    std::vector<std::unique_ptr<Block>> blocks;
    std::vector<Fiber> fibers((last - first) * threads);
    for (unsigned b = first; b < last; b++) {
        blocks.push_back(std::make_unique<Block>());
        blocks.back()->warps.resize((threads + 31) / 32);
        blocks.back()->shared.assign((shared + 7) / 8, NAN);
        blocks.back()->shared.resize(blocks.back()->shared.size() + 4, GUARD);
        for (unsigned t = 0; t < threads; t++) {
            Fiber& fiber = fibers[(b - first) * threads + t];
            fiber.thread = {t};
            fiber.block = {b};
            fiber.home = blocks.back().get();
            fiber.stack.reset(new char[size]);
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.get();
            fiber.context.uc_stack.ss_size = size;
            makecontext(&fiber.context, enter, 0);
        }
    }
    // Of the warps, a random half sleeps for a while, then another one.
    std::mt19937 random(1);
    const unsigned per_block = (threads + 31) / 32;
    std::vector<char> is_asleep((last - first) * per_block);
    bool is_busy = true;
    for (unsigned round = 0; is_busy; round++) {
        if (round % 16 == 0)
            for (char& flag : is_asleep) flag = last - first > 1 && random() % 2;
        is_busy = false;
        for (Fiber& fiber : fibers) {
            if (fiber.is_done) continue;
            is_busy = true;
            if (is_asleep[(fiber.block.x - first) * per_block + fiber.thread.x / 32])
                continue;
            current = &fiber;
            swapcontext(&scheduler, &fiber.context);
        }
    }
    for (auto& block : blocks)
        for (unsigned i = 0; i < 4; i++)
            if (block->shared.end()[-1 - (int)i] != GUARD) fault = "beyond shared memory";
}

#define KERNEL static
#define DEVICE static inline
#define SHARED(type, name) \
    type* name = reinterpret_cast<type*>(current->home->shared.data())
#define PAUSE() pause()
#define BOUND(threads)

static void __syncthreads() { wait(current->home->barrier, blockDim.x); }
static void __threadfence() {}
static unsigned atomicAdd(unsigned* p, unsigned x) { *p += x; return *p - x; }
template <typename X> X __ldcg(const X* p) {
    if ((size_t)p % sizeof(X)) fault = "an address that is not aligned";
    return *p;
}
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}
static unsigned __float_as_uint(float x) {
    unsigned u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static float __uint_as_float(unsigned u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
    unsigned long long bytes = (unsigned long long)high << 32 | low;
    unsigned result = 0;
    for (int i = 0; i < 4; i++)
        result |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
    return result;
}
template <typename X> X __shfl_sync(unsigned, X x, int lane) {
    Warp& warp = current->home->warps[threadIdx.x / 32];
    memcpy(warp.slots[threadIdx.x % 32], &x, sizeof x);
    wait(warp.barrier, 32);
    memcpy(&x, warp.slots[lane], sizeof x);
    wait(warp.barrier, 32);
    return x;
}
template <typename X> X __shfl_xor_sync(unsigned mask, X x, int bits) {
    return __shfl_sync(mask, x, threadIdx.x % 32 ^ bits);
}

static float from_half(unsigned short h) {
    int e = h >> 10 & 31, m = h & 1023;
    float x = e == 31 ? (m ? NAN : INFINITY)
                      : e ? std::ldexp(m + 1024.f, e - 25) : std::ldexp((float)m, -24);
    return h >> 15 ? -x : x;
}
static unsigned short to_half(float x) {
    unsigned short sign = std::signbit(x) << 15;
    if (std::isnan(x)) return 0x7e00;
    x = std::fabs(x);
    if (x == 0) return sign;
    if (x >= 65520) return sign | 0x7c00;
    int e;
    std::frexp(x, &e);
    if (e < -13) e = -13;
    return sign | (unsigned short)(((e + 13) << 10) + std::nearbyint(std::ldexp(x, 11 - e)));
}

// What an argument must be: the letter of NumPy's type it points to, or of a number.
template <typename P> struct Kind { static constexpr char letter = 'V'; };
template <> struct Kind<int> { static constexpr char letter = 'i'; };
template <> struct Kind<long long> { static constexpr char letter = 'q'; };
template <> struct Kind<double> { static constexpr char letter = 'd'; };
template <typename P> struct Pointee { static constexpr char letter = '?'; };
template <> struct Pointee<void> { static constexpr char letter = '*'; };
template <> struct Pointee<unsigned short> { static constexpr char letter = 'e'; };
template <> struct Pointee<unsigned> { static constexpr char letter = 'I'; };
template <> struct Pointee<float> { static constexpr char letter = 'f'; };
template <> struct Pointee<double> { static constexpr char letter = 'd'; };
template <> struct Pointee<long long> { static constexpr char letter = 'q'; };
template <typename P> struct Kind<P*> {
    static constexpr char letter = Pointee<std::remove_const_t<P>>::letter | 128;
};

template <typename... P, size_t... I>
void call(void (*kernel)(P...), void** args, std::index_sequence<I...>) {
    kernel(*static_cast<P*>(args[I])...);
}
template <typename... P> const char* kinds(void (*)(P...)) {
    static const char letters[] = {Kind<P>::letter..., 0};
    return letters;
}
template <typename... P>
const char* launch(void (*kernel)(P...), unsigned blocks, unsigned threads, int shared,
                   int together, void** args) {
    if (blocks == 0) blocks = 1;  // as CuPy does
    fault = nullptr;
    blockDim = {threads};
    gridDim = {blocks};
    body = [&] { call(kernel, args, std::index_sequence_for<P...>()); };
    if (together) run(0, blocks, threads, shared);
    else for (unsigned b = 0; b < blocks; b++) run(b, b + 1, threads, shared);
    return fault;
}
#define EXPORT(name) \
    extern "C" const char* kinds_##name() { return kinds(name); } \
    extern "C" const char* launch_##name(unsigned blocks, unsigned threads, \
                                         int shared, int together, void** args) { \
        return launch(name, blocks, threads, shared, together, args); \
    }
