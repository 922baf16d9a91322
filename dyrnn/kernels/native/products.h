/* Products of a step with weights that are the same in all steps.

   The weights are packed once for all steps, in panels of PANEL columns which are read from
   front to back; every product then takes a few rows by a panel at a time, with all sums in
   registers. A BLAS has to pack them anew in every step, which costs as much as the product
   of few rows. Sums are added up in the order of their terms, so they do not depend on how
   the rows and columns are shared between threads. */

#define PANEL (2 * WIDTH)
#define ROWS 6 /* of a block: 12 of the 16 vectors that every processor has hold sums */

/* c (rows, w) = a (rows, k) and a panel; `rows` is known when this is compiled. */
static inline ALWAYS void NAME(block)(const int rows, int64_t w, int64_t k, const real *a,
                                      int64_t a_stride, const real *panel, real *c,
                                      int64_t c_stride) {
  vector low[ROWS], high[ROWS];
  for (int r = 0; r < rows; r++) low[r] = high[r] = (vector){0};
  for (int64_t i = 0; i < k; i++, panel += PANEL) {
    vector b_low = *(const vector *)panel, b_high = *(const vector *)(panel + WIDTH);
    UNROLLED for (int r = 0; r < rows; r++) {
      real x = a[r * a_stride + i];
      low[r] = MULTIPLY_ADD(x, b_low, low[r]);
      high[r] = MULTIPLY_ADD(x, b_high, high[r]);
    }
  }
  UNROLLED for (int r = 0; r < rows; r++) {
    real sums[PANEL];
    *(vector *)sums = low[r];
    *(vector *)(sums + WIDTH) = high[r];
    if (w == PANEL)
      memcpy(c + r * c_stride, sums, sizeof sums);
    else
      memcpy(c + r * c_stride, sums, w * sizeof(real));
  }
}

/* c (m, n) = a (m, k) b (k, n), by rows with strides; b as `pack` leaves it */
static void NAME(product)(int64_t m, int64_t n, int64_t k, const real *a, int64_t a_stride,
                          const real *packed, real *c, int64_t c_stride) {
  int64_t blocks = (m + ROWS - 1) / ROWS;
  for (int64_t j = 0; j < n; j += PANEL, packed += k * PANEL) {
    int64_t w = n - j < PANEL ? n - j : PANEL;
    for (int64_t each = 0; each < blocks; each++) {
      int64_t i = m * each / blocks;
      switch (m * (each + 1) / blocks - i) {
#define CASE(rows)                                                                           \
  case rows:                                                                                 \
    NAME(block)(rows, w, k, a + i * a_stride, a_stride, packed, c + i * c_stride + j, c_stride); \
    break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#undef CASE
      }
    }
  }
}

/* Pack rows first..last of b (k, n), whose element (i, g w + j) is b[i row + j column + g gap];
   the last panel is filled with zeros. */
static void NAME(pack)(int64_t k, int64_t n, const real *b, int64_t row, int64_t column,
                       int64_t w, int64_t gap, int64_t first, int64_t last, real *packed) {
  for (int64_t from = 0; from < n; from += PANEL, packed += k * PANEL)
    for (int64_t block = first; block < last; block += 16)
      for (int64_t q = from; q < from + PANEL; q++) {
        const real *source = b + q / w * gap + q % w * column;
        real *to = packed + q - from;
        int64_t stop = block + 16 < last ? block + 16 : last;
        for (int64_t i = block; i < stop; i++) to[i * PANEL] = q < n ? source[i * row] : 0;
      }
}

#undef ROWS
