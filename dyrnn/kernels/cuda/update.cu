#include "many.cu"

// RULE is the text of an optimizer's rule, PARAMETERS are the names in it, and ARGUMENTS
// their places for element n of array i.

struct Numbers { double k[8], rate; };

DEVICE void rule(PARAMETERS) { RULE }

KERNEL void update(Table table, Numbers numbers) {
    Place here = place(table);
    int i = here.array;
    for (int64 n = here.start + threadIdx.x; n < here.stop; n += blockDim.x) {
        A p = load(table.p[i] + n), g = load(table.g[i] + n) * (A)numbers.rate;
        rule(ARGUMENTS);
        store(table.p[i] + n, p);
    }
}
