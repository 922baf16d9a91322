#include "common.cu"

// Many arrays in one launch: a table of pointers is passed by value, and blocks of CHUNK
// elements are dealt to the arrays one after the other.

#define MANY 24
#define CHUNK 4096
#define STATES 3
struct Table {
    int64 size[MANY];
    T* p[MANY];
    const T* g[MANY];
    A* state[STATES][MANY];
    int first[MANY + 1];  // number of each array's first block
    int count;
};

struct Place { int array; int64 start, stop; };

DEVICE Place place(const Table& table) {
    Place here;
    here.array = 0;
    while ((int)blockIdx.x >= table.first[here.array + 1]) here.array++;
    here.start = (int64)(blockIdx.x - table.first[here.array]) * CHUNK;
    here.stop = here.start + CHUNK;
    if (here.stop > table.size[here.array]) here.stop = table.size[here.array];
    return here;
}

KERNEL void partial_squares(Table table, double* parts) {
    SHARED(double, scratch);
    Place here = place(table);
    double sum = 0;
    for (int64 n = here.start + threadIdx.x; n < here.stop; n += blockDim.x) {
        double x = load(table.p[here.array] + n);
        sum += x * x;
    }
    sum = block_reduce<true>(sum, scratch);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// One block per array.
KERNEL void add_squares(Table table, const double* parts, double* squares, bool* bad) {
    SHARED(double, scratch);
    double sum = 0;
    for (int n = table.first[blockIdx.x] + threadIdx.x;
         n < table.first[blockIdx.x + 1]; n += blockDim.x)
        sum += parts[n];
    sum = block_reduce<true>(sum, scratch);
    if (threadIdx.x == 0) {
        squares[blockIdx.x] = sum;
        bad[blockIdx.x] = !isfinite(sum);
    }
}

KERNEL void clip(Table table, double threshold, int arrays, const double* squares) {
    double sum = 0;
    for (int i = 0; i < arrays; i++) sum += squares[i];
    double norm = sqrt(sum);
    if (norm <= threshold) return;
    Place here = place(table);
    A rate = (A)(threshold / norm);
    for (int64 n = here.start + threadIdx.x; n < here.stop; n += blockDim.x) {
        T* p = table.p[here.array] + n;
        store(p, isfinite(norm) ? load(p) * rate : (A)0);
    }
}
