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

enum { VERSION = 2 }; /* of what the Python files beside this one call, and say, too */

typedef union {
  void *array;
  int64_t size;
  double number;
} Slot;
typedef void (*Kernel)(const Slot *, int part, int parts);
#define MOST_SLOTS 16
#define MOST_PARTS 256

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
/* Of products: terms and columns of what is packed at a time, and bytes of it that stay in the
   cache while they are read again and again. */
enum { TERMS = 768, COLUMNS = 1024, IN_CACHE = 1 << 18 };
#define UNROLLED _Pragma("GCC unroll 8")

/* Vectors of so many bytes, anywhere in memory, and x b + s of a number and two of them. */
#define VECTOR(type, kind, bytes) \
  typedef type vector_##type##_##kind \
      __attribute__((vector_size(bytes), aligned(sizeof(type)), may_alias))
#define MULTIPLY_ADD_BY(type, kind, sum) \
  static inline ALWAYS vector_##type##_##kind multiply_add_##type##_##kind( \
      type x, vector_##type##_##kind b, vector_##type##_##kind s) { \
    return (vector_##type##_##kind)(sum); \
  }

#define KIND baseline
#define BYTES 16
VECTOR(float, baseline, BYTES);
VECTOR(double, baseline, BYTES);
MULTIPLY_ADD_BY(float, baseline, x * b + s)
MULTIPLY_ADD_BY(double, baseline, x * b + s)
#include "types.h"
#undef KIND
#undef BYTES

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_KINDS 1
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define KIND avx2
#define BYTES 32
VECTOR(float, avx2, BYTES);
VECTOR(double, avx2, BYTES);
MULTIPLY_ADD_BY(float, avx2, _mm256_fmadd_ps(_mm256_set1_ps(x), (__m256)b, (__m256)s))
MULTIPLY_ADD_BY(double, avx2, _mm256_fmadd_pd(_mm256_set1_pd(x), (__m256d)b, (__m256d)s))
#include "types.h"
#undef KIND
#undef BYTES
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,prefer-vector-width=512")
#endif
#define KIND avx512
#define BYTES 64
VECTOR(float, avx512, BYTES);
VECTOR(double, avx512, BYTES);
MULTIPLY_ADD_BY(float, avx512, _mm512_fmadd_ps(_mm512_set1_ps(x), (__m512)b, (__m512)s))
MULTIPLY_ADD_BY(double, avx512, _mm512_fmadd_pd(_mm512_set1_pd(x), (__m512d)b, (__m512d)s))
#include "types.h"
#undef KIND
#undef BYTES
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
#define HAS_KINDS 0
#endif

static const char *const names[] = {
    "lstm_gates",  "lstm_gates_backward", "lstm_forward", "lstm_backward",
    "gru_gates",   "gru_gates_backward",  "gru_forward",  "gru_backward",
    "rnn_forward", "rnn_backward",        "softmax_cross_entropy", "matmul",
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
  if (!strcmp(kind, "avx2"))
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!strcmp(kind, "avx512"))
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#endif
  return 0;
}

static PyObject *use(PyObject *self, PyObject *args) {
  const char *kind;
  (void)self;
  if (!PyArg_ParseTuple(args, "s", &kind)) return NULL;
  if (!supports(kind)) {
    PyErr_Format(PyExc_ValueError, "this processor does not run kernels for %s", kind);
    return NULL;
  }
  table = table_of_baseline;
#if HAS_KINDS
  if (!strcmp(kind, "avx2")) table = table_of_avx2;
  if (!strcmp(kind, "avx512")) table = table_of_avx512;
#endif
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
    {"use", use, METH_VARARGS, "use(kind)"},
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
  if (PyModule_AddIntConstant(module, "version", VERSION)) return NULL;
  if (PyModule_AddIntConstant(module, "terms", TERMS)) return NULL;
  if (PyModule_AddIntConstant(module, "columns", COLUMNS)) return NULL;
  pthread_atfork(NULL, NULL, forget_workers);
  return module;
}
