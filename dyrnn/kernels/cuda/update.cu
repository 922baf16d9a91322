#include "many.cu"

// RULE is the text of an optimizer's rule.

struct Numbers { double k[8]; };

KERNEL void update(Table table, Numbers numbers) {
    Place here = place(table);
    int i = here.array;
    A k[8], rate = (A)table.rate[i];
    for (int j = 0; j < 8; j++) k[j] = (A)numbers.k[j];
    for (int64 n = here.start + threadIdx.x; n < here.stop; n += blockDim.x) {
        A p = load(table.p[i] + n), g = load(table.g[i] + n) * rate;
        A s0 = table.s0[i] ? table.s0[i][n] : (A)0;
        A s1 = table.s1[i] ? table.s1[i][n] : (A)0;
        A s2 = table.s2[i] ? table.s2[i][n] : (A)0;
        RULE
        store(table.p[i] + n, p);
        if (table.s0[i]) table.s0[i][n] = s0;
        if (table.s1[i]) table.s1[i][n] = s1;
        if (table.s2[i]) table.s2[i][n] = s2;
    }
}
