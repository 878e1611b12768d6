/* A CUDA driver over host memory, for the tests of cuda-bindings: the real package calls it.
 *
 * It has what the runtime calls and nothing else, runs asynchronous work only when the stream is
 * waited for, and refuses what CUDA forgives: copies outside allocations, calls without a context.
 * HOST_CUDA_DEVICES=0 takes its device away, HOST_CUDA_BYTES bounds its memory. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_CONTEXT = 201,
       NOT_FOUND = 500, NOT_PERMITTED = 800, INVALIDATED = 901 };
enum { MOST = 256 };

typedef struct { char *start; size_t bytes; int pinned; } Block;
typedef struct { char *to; const char *from; size_t bytes; } Copy;
typedef struct { Copy copies[MOST]; int count; } Work;

static Block blocks[MOST];
static Work queue, captured;
static int capturing, retained, depth, streams, graphs, executables;

static int devices(void) {
  const char *text = getenv("HOST_CUDA_DEVICES");
  return text ? atoi(text) : 1;
}

static size_t total_bytes(void) {
  const char *text = getenv("HOST_CUDA_BYTES");
  return text ? strtoull(text, 0, 10) : (size_t)1 << 30;
}

static size_t used_bytes(void) {
  size_t sum = 0;
  for (int i = 0; i < MOST; i++)
    if (blocks[i].start && !blocks[i].pinned) sum += blocks[i].bytes;
  return sum;
}

static int take(void **start, size_t bytes, int pinned) {
  if (!depth) return INVALID_CONTEXT;
  if (!pinned && used_bytes() + bytes > total_bytes()) return OUT_OF_MEMORY;
  for (int i = 0; i < MOST; i++)
    if (!blocks[i].start) {
      blocks[i] = (Block){malloc(bytes), bytes, pinned};
      memset(blocks[i].start, 0xAA, bytes);
      *start = blocks[i].start;
      return OK;
    }
  return OUT_OF_MEMORY;
}

static int give(void *start, int pinned) {
  if (!depth) return INVALID_CONTEXT;
  for (int i = 0; i < MOST; i++)
    if (start && blocks[i].start == start && blocks[i].pinned == pinned) {
      free(start);
      blocks[i] = (Block){0};
      return OK;
    }
  return INVALID_VALUE;
}

static int within(const char *start, size_t bytes, int pinned) {
  for (int i = 0; i < MOST; i++)
    if (blocks[i].start && blocks[i].pinned == pinned && start >= blocks[i].start &&
        start + bytes <= blocks[i].start + blocks[i].bytes)
      return 1;
  return 0;
}

static void run(Work *work) {
  for (int i = 0; i < work->count; i++)
    memcpy(work->copies[i].to, work->copies[i].from, work->copies[i].bytes);
}

static int add(char *to, const char *from, size_t bytes) {
  Work *work = capturing ? &captured : &queue;
  if (!depth) return INVALID_CONTEXT;
  work->copies[work->count++] = (Copy){to, from, bytes};
  return OK;
}

int cuInit(unsigned flags) { return devices() ? OK : NO_DEVICE; }
int cuDriverGetVersion(int *version) { *version = 12060; return OK; }
int cuDeviceGetCount(int *count) { *count = devices(); return OK; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return OK; }
int cuDeviceGetName(char *name, int length, int device) {
  snprintf(name, length, "Orin");
  return OK;
}
int cuDeviceComputeCapability(int *major, int *minor, int device) {
  *major = 8, *minor = 7;
  return OK;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 16 ? 14 : -1;
  return OK;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
  *context = &retained;
  retained++;
  return OK;
}
int cuDevicePrimaryCtxRelease_v2(int device) { return retained-- > 0 ? OK : INVALID_CONTEXT; }
int cuCtxPushCurrent_v2(void *context) {
  if (context != &retained || !retained) return INVALID_CONTEXT;
  depth++;
  return OK;
}
int cuCtxPopCurrent_v2(void **context) {
  *context = &retained;
  return depth-- > 0 ? OK : INVALID_CONTEXT;
}
int cuStreamCreate(void **stream, unsigned flags) {
  *stream = &queue;
  streams++;
  return depth ? OK : INVALID_CONTEXT;
}
int cuStreamDestroy_v2(void *stream) { streams--; return depth ? OK : INVALID_CONTEXT; }
int cuStreamSynchronize(void *stream) {
  if (!depth) return INVALID_CONTEXT;
  if (capturing) return NOT_PERMITTED;
  run(&queue);
  queue.count = 0;
  return OK;
}
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
  *free_bytes = total_bytes() - used_bytes();
  *total = total_bytes();
  return depth ? OK : INVALID_CONTEXT;
}
int cuMemAlloc_v2(void **start, size_t bytes) { return take(start, bytes, 0); }
int cuMemFree_v2(void *start) { return give(start, 0); }
int cuMemHostAlloc(void **start, size_t bytes, unsigned flags) { return take(start, bytes, 1); }
int cuMemFreeHost(void *start) { return give(start, 1); }
int cuMemcpyHtoDAsync_v2(char *to, const char *from, size_t bytes, void *stream) {
  if (!within(to, bytes, 0) || !within(from, bytes, 1) || stream != &queue) return INVALID_VALUE;
  return add(to, from, bytes);
}
int cuMemcpyDtoHAsync_v2(char *to, const char *from, size_t bytes, void *stream) {
  if (!within(to, bytes, 1) || !within(from, bytes, 0) || stream != &queue) return INVALID_VALUE;
  return add(to, from, bytes);
}
int cuStreamBeginCapture_v2(void *stream, int mode) {
  captured.count = 0;
  capturing = 1;
  return mode == 1 ? OK : INVALID_VALUE;
}
int cuStreamEndCapture(void *stream, void **graph) {
  if (!capturing) return INVALIDATED;
  capturing = 0;
  Work *work = malloc(sizeof captured);
  *work = captured;
  *graph = work;
  graphs++;
  return OK;
}
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
  Work *work = malloc(sizeof captured);
  *work = *(Work *)graph;
  *executable = work;
  executables++;
  return OK;
}
int cuGraphLaunch(void *executable, void *stream) {
  Work *work = executable;
  if (!depth) return INVALID_CONTEXT;
  for (int i = 0; i < work->count; i++) queue.copies[queue.count++] = work->copies[i];
  return OK;
}
int cuGraphDestroy(void *graph) { free(graph); graphs--; return OK; }
int cuGraphExecDestroy(void *executable) { free(executable); executables--; return OK; }
int cuGetErrorString(int error, const char **text) {
  *text = error == OUT_OF_MEMORY ? "out of memory"
          : error == NO_DEVICE   ? "no CUDA-capable device is detected"
                                 : "some other error";
  return OK;
}

/* How much is still held, for the test to look at: the primary context alone after a close. */
int host_cuda_held(void) {
  int held = retained + depth + streams + graphs + executables;
  for (int i = 0; i < MOST; i++) held += blocks[i].start != 0;
  return held;
}

int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
  const char *suffixes[] = {"_v2", "WithFlags", ""};
  *function = 0;
  for (int i = 0; i < 3 && !*function; i++) {
    char full[128];
    snprintf(full, sizeof full, "%s%s", name, suffixes[i]);
    *function = dlsym(RTLD_DEFAULT, full);
  }
  if (status) *status = *function ? 0 : 1;
  return *function ? OK : NOT_FOUND;
}
