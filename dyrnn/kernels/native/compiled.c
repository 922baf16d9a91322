/* The native kernels as a module of Python: run(name, threads, *arguments).

   Arguments are contiguous arrays of one floating type (and labels, masks), None, integers
   and floats. The interpreter is let go while a kernel runs; its parts run in threads of
   this file. */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

typedef union {
  void *array;
  int64_t size;
  double number;
} Slot;
typedef void (*Kernel)(const Slot *, int part, int parts);
#define MOST_SLOTS 16
#define MOST_PARTS 256

/* ---- products, by NumPy's BLAS ---- */

enum { BY_ROWS = 101, AS_IT_IS = 111 };
static void *address_float, *address_double;
static int has_long_integers;

#define MULTIPLY(type)                                                                          \
  typedef void (*Long_##type)(int, int, int, int64_t, int64_t, int64_t, type, const type *,     \
                              int64_t, const type *, int64_t, type, type *, int64_t);           \
  typedef void (*Short_##type)(int, int, int, int, int, int, type, const type *, int,           \
                               const type *, int, type, type *, int);                           \
  static void multiply_##type(int64_t m, int64_t n, int64_t k, const type *a, int64_t lda,      \
                              const type *b, int64_t ldb, type *c, int64_t ldc) {               \
    if (has_long_integers)                                                                      \
      ((Long_##type)address_##type)(BY_ROWS, AS_IT_IS, AS_IT_IS, m, n, k, 1, a, lda, b, ldb, 0, \
                                    c, ldc);                                                    \
    else                                                                                        \
      ((Short_##type)address_##type)(BY_ROWS, AS_IT_IS, AS_IT_IS, (int)m, (int)n, (int)k, 1, a, \
                                     (int)lda, b, (int)ldb, 0, c, (int)ldc);                    \
  }
MULTIPLY(float)
MULTIPLY(double)

/* ---- threads ---- */

#define PATIENCE 2000 /* looks before a thread lets others run, some ten microseconds */

static pthread_mutex_t one_job = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t is_there = PTHREAD_COND_INITIALIZER;
static int workers;
static struct {
  Kernel kernel;
  const Slot *slots;
  int parts, cpu;
  atomic_int left, arrived, round;
} job;
static atomic_uint jobs; /* counts them */

static inline void look_again(int *looks) {
  if (++*looks < PATIENCE) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  } else {
    sched_yield();
  }
}

/* Wait until all parts of the job are here. */
static void meet(int parts) {
  if (parts == 1) return;
  int round = atomic_load(&job.round), looks = 0;
  if (atomic_fetch_add(&job.arrived, 1) == parts - 1) {
    atomic_store(&job.arrived, 0);
    atomic_fetch_add(&job.round, 1);
  } else {
    while (atomic_load_explicit(&job.round, memory_order_acquire) == round) look_again(&looks);
  }
}

/* Move this thread off the processor of its caller, where the scheduler likes to wake it. */
static void leave(int cpu) {
#ifdef __linux__
  cpu_set_t allowed, others;
  if (cpu < 0 || sched_getcpu() != cpu || sched_getaffinity(0, sizeof allowed, &allowed)) return;
  others = allowed;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) == 0) return;
  sched_setaffinity(0, sizeof others, &others);
  sched_setaffinity(0, sizeof allowed, &allowed);
#else
  (void)cpu;
#endif
}

static void *work(void *argument) {
  int me = (int)(intptr_t)argument;
  unsigned seen = 0;
  for (;;) {
    for (int looks = 0; atomic_load(&jobs) == seen && looks < PATIENCE - 1;) look_again(&looks);
    pthread_mutex_lock(&lock);
    while (atomic_load(&jobs) == seen) pthread_cond_wait(&is_there, &lock);
    seen = atomic_load(&jobs);
    int is_mine = me < job.parts - 1;
    pthread_mutex_unlock(&lock);
    if (is_mine) {
      leave(job.cpu);
      job.kernel(job.slots, me, job.parts);
      atomic_fetch_sub(&job.left, 1);
    }
  }
  return NULL;
}

static void forget_workers(void) { /* in a forked child, which has none of them */
  pthread_mutex_init(&one_job, NULL);
  pthread_mutex_init(&lock, NULL);
  pthread_cond_init(&is_there, NULL);
  workers = 0;
  atomic_store(&jobs, 0);
}

static int start_workers(int number) {
  while (workers < number) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, (void *)(intptr_t)workers)) break;
    pthread_detach(thread);
    workers++;
  }
  return workers;
}

/* Run all parts of a kernel, the last one here. */
static int run_parts(Kernel kernel, const Slot *slots, int parts) {
  if (parts == 1) {
    kernel(slots, 0, 1);
    return 1;
  }
  pthread_mutex_lock(&one_job);
  if (start_workers(parts - 1) < parts - 1) {
    pthread_mutex_unlock(&one_job);
    return 0;
  }
  pthread_mutex_lock(&lock);
  job.kernel = kernel;
  job.slots = slots;
  job.parts = parts;
#ifdef __linux__
  job.cpu = sched_getcpu();
#else
  job.cpu = -1;
#endif
  atomic_store(&job.left, parts - 1);
  atomic_store(&job.arrived, 0);
  atomic_fetch_add(&jobs, 1);
  pthread_cond_broadcast(&is_there);
  pthread_mutex_unlock(&lock);
  kernel(slots, parts - 1, parts);
  for (int looks = 0; atomic_load(&job.left);) look_again(&looks);
  pthread_mutex_unlock(&one_job);
  return 1;
}

/* ---- kernels, for each kind of processor ---- */

#define ALWAYS __attribute__((always_inline))
#define KIND baseline
#include "types.h"
#undef KIND

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define HAS_KINDS 1
#pragma GCC push_options
#pragma GCC target("avx2")
#define KIND avx2
#include "types.h"
#undef KIND
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,prefer-vector-width=512")
#define KIND avx512
#include "types.h"
#undef KIND
#pragma GCC pop_options
#elif defined(__x86_64__) && defined(__clang__)
#define HAS_KINDS 1
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#define KIND avx2
#include "types.h"
#undef KIND
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))), \
                             apply_to = function)
#define KIND avx512
#include "types.h"
#undef KIND
#pragma clang attribute pop
#else
#define HAS_KINDS 0
#endif

static const char *const names[] = {
    "lstm_gates",  "lstm_gates_backward", "lstm_forward", "lstm_backward",
    "gru_gates",   "gru_gates_backward",  "gru_forward",  "gru_backward",
    "rnn_forward", "rnn_backward",        "softmax_cross_entropy",
#define RULE(name, load, store, states, numbers, ...) #__VA_ARGS__,
#include "rules.h"
#undef RULE
};
enum { KERNELS = sizeof names / sizeof *names };

typedef const Kernel (*Table)[2];
static Table table = table_of_baseline;

static int supports(const char *kind) {
  if (!strcmp(kind, "baseline")) return 1;
#if HAS_KINDS
  if (!strcmp(kind, "avx2")) return __builtin_cpu_supports("avx2") != 0;
  if (!strcmp(kind, "avx512"))
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#endif
  return 0;
}

static PyObject *use(PyObject *self, PyObject *args) {
  const char *kind;
  unsigned long long of_float, of_double;
  int is_long;
  (void)self;
  if (!PyArg_ParseTuple(args, "sKKp", &kind, &of_float, &of_double, &is_long)) return NULL;
  if (!supports(kind)) {
    PyErr_Format(PyExc_ValueError, "this processor does not run kernels for %s", kind);
    return NULL;
  }
  table = table_of_baseline;
#if HAS_KINDS
  if (!strcmp(kind, "avx2")) table = table_of_avx2;
  if (!strcmp(kind, "avx512")) table = table_of_avx512;
#endif
  address_float = (void *)(uintptr_t)of_float;
  address_double = (void *)(uintptr_t)of_double;
  has_long_integers = is_long;
  Py_RETURN_NONE;
}

static PyObject *kinds(PyObject *self, PyObject *args) {
  (void)self, (void)args;
  PyObject *found = PyList_New(0);
  const char *const all[] = {"avx512", "avx2", "baseline"};
  for (int k = 0; found && k < 3; k++) {
    if (!supports(all[k])) continue;
    PyObject *name = PyUnicode_FromString(all[k]);
    if (!name || PyList_Append(found, name)) Py_CLEAR(found);
    Py_XDECREF(name);
  }
  return found;
}

static PyObject *run(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  (void)self;
  Py_ssize_t given = count - 2, views = 0;
  if (given < 0 || given > MOST_SLOTS) {
    PyErr_SetString(PyExc_TypeError, "run takes a number, threads and up to 16 arguments");
    return NULL;
  }
  long index = PyLong_AsLong(args[0]), parts = PyLong_AsLong(args[1]);
  if (PyErr_Occurred()) return NULL;
  if (index < 0 || index >= KERNELS || parts < 1 || parts > MOST_PARTS) {
    PyErr_SetString(PyExc_ValueError, "no such kernel, or number of threads");
    return NULL;
  }
  Slot slots[MOST_SLOTS];
  Py_buffer view[MOST_SLOTS];
  char type = 0;
  memset(slots, 0, sizeof slots);
  for (Py_ssize_t k = 0; k < given; k++) {
    PyObject *each = args[k + 2];
    if (each == Py_None) {
      slots[k].array = NULL;
    } else if (PyLong_Check(each)) {
      slots[k].size = PyLong_AsLongLong(each);
    } else if (PyFloat_Check(each)) {
      slots[k].number = PyFloat_AS_DOUBLE(each);
    } else if (PyObject_GetBuffer(each, &view[views], PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) == 0) {
      slots[k].array = view[views].buf;
      char format = view[views].format ? view[views].format[0] : 'B';
      views++;
      if (format == 'f' || format == 'd') {
        if (type && type != format) {
          PyErr_SetString(PyExc_TypeError, "arrays of float32 and of float64 in one call");
          break;
        }
        type = format;
      }
    }
    if (PyErr_Occurred()) break;
  }
  if (!PyErr_Occurred() && !type) PyErr_SetString(PyExc_TypeError, "no array of floats");
  if (!PyErr_Occurred()) {
    Kernel kernel = table[index][type == 'd'];
    int is_done;
    Py_BEGIN_ALLOW_THREADS
    is_done = run_parts(kernel, slots, (int)parts);
    Py_END_ALLOW_THREADS
    if (!is_done) PyErr_SetString(PyExc_RuntimeError, "the system starts no more threads");
  }
  while (views) PyBuffer_Release(&view[--views]);
  if (PyErr_Occurred()) return NULL;
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL, "run(number, threads, *arguments)"},
    {"use", use, METH_VARARGS, "use(kind, sgemm, dgemm, has_long_integers)"},
    {"kinds", kinds, METH_NOARGS, "Kinds of kernels that this processor runs, best first."},
    {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "compiled", "The native kernels.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_compiled(void) {
  PyObject *module = PyModule_Create(&definition), *all = PyList_New(0);
  for (int k = 0; module && all && k < KERNELS; k++) {
    PyObject *name = PyUnicode_FromString(names[k]);
    if (!name || PyList_Append(all, name)) Py_CLEAR(all);
    Py_XDECREF(name);
  }
  if (!module || !all || PyModule_AddObject(module, "names", all)) return NULL;
  pthread_atfork(NULL, NULL, forget_workers);
  return module;
}
