/* Products of matrices: one is packed, in panels of PANEL columns which are read from front to
   back, and six rows of the other at a time are multiplied with a panel, all sums in
   registers. The weights of a window are packed once for all its steps, where a BLAS packs
   them anew in every step, which costs as much as the product of few rows.

   Sums are added up in the order of their terms, some TERMS at a time: a result depends
   neither on the other rows and columns nor on how threads share them. */

#define PANEL (2 * WIDTH)
#define ROWS 6 /* 12 of the 16 vectors that every processor has hold sums */

/* A matrix whose element (i, j) is at[i row + j column] */
typedef struct {
  real *at;
  int64_t row, column;
} NAME(Matrix);

/* sums (rows, PANEL) += a (rows, k) times a panel, or its first half alone; how many rows
   there are is known when this is compiled. */
static inline ALWAYS void NAME(block)(const int rows, const int is_half, int64_t k,
                                      const real *a, int64_t row, const real *panel,
                                      real (*sums)[PANEL]) {
  vector low[ROWS], high[ROWS];
  for (int r = 0; r < rows; r++) low[r] = high[r] = (vector){0};
  for (int64_t i = 0; i < k; i++, panel += PANEL) {
    vector b_low = *(const vector *)panel, b_high = *(const vector *)(panel + WIDTH);
    UNROLLED for (int r = 0; r < rows; r++) {
      real x = a[r * row + i];
      low[r] = MULTIPLY_ADD(x, b_low, low[r]);
      if (!is_half) high[r] = MULTIPLY_ADD(x, b_high, high[r]);
    }
  }
  UNROLLED for (int r = 0; r < rows; r++) {
    *(vector *)sums[r] += low[r];
    if (!is_half) *(vector *)(sums[r] + WIDTH) += high[r];
  }
}

static inline void NAME(multiply)(int64_t rows, int64_t columns, int64_t k, const real *a,
                                  int64_t row, const real *panel, real (*sums)[PANEL]) {
#define CASE(n)                                  \
  case n:                                        \
    if (columns <= WIDTH)                        \
      NAME(block)(n, 1, k, a, row, panel, sums); \
    else                                         \
      NAME(block)(n, 0, k, a, row, panel, sums); \
    break;
  switch (rows) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) }
#undef CASE
}

/* Pack rows first..last of b (k, n), whose element (i, g w + j) is b[i row + j column + g gap],
   in panels; the last one is filled with zeros. */
static void NAME(pack)(int64_t k, int64_t n, NAME(Matrix) b, int64_t w, int64_t gap,
                       int64_t first, int64_t last, real *packed) {
  for (int64_t from = 0; from < n; from += PANEL, packed += k * PANEL) {
    if (b.column == 1 && from + PANEL <= n && n <= w) {
      for (int64_t i = first; i < last; i++)
        memcpy(packed + i * PANEL, b.at + i * b.row + from, PANEL * sizeof(real));
      continue;
    }
    for (int64_t block = first; block < last; block += 16)
      for (int64_t q = from; q < from + PANEL; q++) {
        const real *source = b.at + q / w * gap + q % w * b.column;
        real *to = packed + q - from;
        int64_t stop = block + 16 < last ? block + 16 : last;
        for (int64_t i = block; i < stop; i++) to[i * PANEL] = q < n ? source[i * b.row] : 0;
      }
  }
}

/* Packed matrices begin where a line of the cache does. */
static inline real *NAME(aligned)(real *room) {
  return (real *)(((uintptr_t)room + 63) / 64 * 64);
}

/* c (m, n) = a (m, k) b (k, n), by rows with strides; b as `pack` leaves it */
static void NAME(product)(int64_t m, int64_t n, int64_t k, const real *a, int64_t a_stride,
                          const real *packed, real *c, int64_t c_stride) {
  int64_t blocks = (m + ROWS - 1) / ROWS;
  for (int64_t j = 0; j < n; j += PANEL, packed += k * PANEL) {
    int64_t w = n - j < PANEL ? n - j : PANEL;
    for (int64_t each = 0; each < blocks; each++) {
      int64_t i = m * each / blocks, rows = m * (each + 1) / blocks - i;
      real sums[ROWS][PANEL] = {{0}};
      NAME(multiply)(rows, w, k, a + i * a_stride, a_stride, packed, sums);
      for (int64_t r = 0; r < rows; r++)
        memcpy(c + (i + r) * c_stride + j, sums[r], w * sizeof(real));
    }
  }
}

static inline NAME(Matrix) NAME(from)(NAME(Matrix) m, int64_t i, int64_t j) {
  m.at += i * m.row + j * m.column;
  return m;
}

static inline void NAME(get)(NAME(Matrix) m, int64_t rows, int64_t w, real (*sums)[PANEL]) {
  for (int64_t r = 0; r < rows; r++, m.at += m.row)
    if (m.column == 1)
      memcpy(sums[r], m.at, w * sizeof(real));
    else if (m.column == 0)
      for (int64_t j = 0; j < PANEL; j++) sums[r][j] = *m.at;
    else
      for (int64_t j = 0; j < w; j++) sums[r][j] = m.at[j * m.column];
}

static inline void NAME(put)(NAME(Matrix) m, int64_t rows, int64_t w, real (*sums)[PANEL]) {
  if (m.column == 1)
    for (int64_t r = 0; r < rows; r++) memcpy(m.at + r * m.row, sums[r], w * sizeof(real));
  else
    for (int64_t j = 0; j < w; j++, m.at += m.column)
      for (int64_t r = 0; r < rows; r++) m.at[r * m.row] = sums[r][j];
}

/* c (m, n) = bias + a (m, k) b (k, n); the terms of a row of a lie side by side. Parts share
   the rows of a, and pack b together. */
static void NAME(matmul)(const Slot *s, int part, int parts) {
  NAME(Matrix) a = {s[0].array, s[5].size, 1}, b = {s[1].array, s[6].size, s[7].size};
  NAME(Matrix) c = {s[2].array, s[8].size, s[9].size}, bias = {s[3].array, 0, 1};
  int64_t m = s[10].size, n = s[11].size, k = s[12].size, chunks = (k + TERMS - 1) / TERMS;
  int64_t start = m * part / parts, stop = m * (part + 1) / parts;
  real *packed = NAME(aligned)(s[4].array);
  if (c.column != 1) bias.row = 1, bias.column = 0;
  for (int64_t left = 0; left < n; left += COLUMNS) {
    int64_t width = n - left < COLUMNS ? n - left : COLUMNS;
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
      int64_t from = k * chunk / chunks, terms = k * (chunk + 1) / chunks - from;
      int64_t few = (IN_CACHE / (terms * PANEL * sizeof(real)) + 1) * PANEL;
      meet(parts);
      NAME(pack)(terms, width, NAME(from)(b, from, left), width, 0, terms * part / parts,
                 terms * (part + 1) / parts, packed);
      meet(parts);
      for (int64_t low = 0; low < width; low += few) {
        int64_t high = low + few < width ? low + few : width;
        for (int64_t i = start; i < stop; i += ROWS) {
          int64_t rows = stop - i < ROWS ? stop - i : ROWS;
          for (int64_t j = low; j < high; j += PANEL) {
            int64_t w = width - j < PANEL ? width - j : PANEL;
            real sums[ROWS][PANEL];
            NAME(Matrix) to = NAME(from)(c, i, left + j);
            if (chunk)
              NAME(get)(to, rows, w, sums);
            else if (bias.at)
              NAME(get)(NAME(from)(bias, i, left + j), rows, w, sums);
            else
              memset(sums, 0, sizeof sums);
            NAME(multiply)(rows, w, terms, a.at + i * a.row + from, a.row, packed + j * terms, sums);
            NAME(put)(to, rows, w, sums);
          }
        }
      }
    }
  }
}

#undef ROWS
