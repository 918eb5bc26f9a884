// The C APIs of LightGBM, XGBoost and onnxruntime, and C that tl2cgen wrote, measured one at a time in
// processor time of one thread. The libraries are opened at run time: those that Python wheels hold.
//
//   libraries ROWS WIDTH BATCH MILLISECONDS FILE_OF_FLOATS {KIND LIBRARY MODEL}...
//
// FILE_OF_FLOATS holds ROWS rows of WIDTH 64-bit floats, NaN where missing. Each line of standard input
// measures all engines, each first with one row a call, then with BATCH rows a call; the answer is a line of
// nanoseconds a row. The line "scores" instead prints the outputs of the first 256 rows of each engine.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct engine {
	const char *kind;
	// one scores row i, many scores rows i to i+batch; both leave the outputs in out.
	void (*one)(struct engine *, int i);
	void (*many)(struct engine *, int i);
	double *out;
	void *handle, *fast;
	// LightGBM
	int (*lgb_one)(void *, const void *, int64_t *, double *);
	int (*lgb_many)(void *, const void *, int, int32_t, int32_t, int, int, int, int, const char *, int64_t *, double *);
	// XGBoost
	int (*xgb_predict)(void *, const char *, const char *, void *, const uint64_t **, uint64_t *, const float **);
	char **one_json, **many_json;
	// onnxruntime
	void *session, *value_one, *value_many;
	float *in_one, *in_many;
	// tl2cgen
	void (*tl_predict)(void *, int, void *);
	void *entries;
	int entry_bytes, tl_double;
} engine;

static int rows, width, batch;
static double *data;
static float *data32;

static void die(const char *what, const char *detail) {
	fprintf(stderr, "libraries: %s: %s\n", what, detail ? detail : "failed");
	exit(1);
}

static void *sym(void *lib, const char *name) {
	void *p = dlsym(lib, name);
	if (!p) die(name, dlerror());
	return p;
}

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// LightGBM ---------------------------------------------------------------------------------------

static void lgb_one(engine *e, int i) {
	int64_t n;
	if (e->lgb_one(e->fast, data + (size_t)i * width, &n, e->out)) die("LightGBM", "one row");
}

static void lgb_many(engine *e, int i) {
	int64_t n;
	if (e->lgb_many(e->handle, data + (size_t)i * width, 1, batch, width, 1, 0, 0, -1, "num_threads=1", &n, e->out)) die("LightGBM", "rows");
}

static void lgb_open(engine *e, void *lib, const char *model) {
	int (*load)(const char *, int *, void **) = sym(lib, "LGBM_BoosterCreateFromModelfile");
	int (*init)(void *, int, int, int, int, int32_t, const char *, void **) = sym(lib, "LGBM_BoosterPredictForMatSingleRowFastInit");
	int rounds;
	if (load(model, &rounds, &e->handle)) die("LightGBM", model);
	if (init(e->handle, 0, 0, -1, 1, width, "num_threads=1", &e->fast)) die("LightGBM", "fast prediction");
	e->lgb_one = sym(lib, "LGBM_BoosterPredictForMatSingleRowFast");
	e->lgb_many = sym(lib, "LGBM_BoosterPredictForMat");
	e->one = lgb_one;
	e->many = lgb_many;
}

// XGBoost: in-place prediction, its fastest way for a row -------------------------------------------

static const char *xgb_config = "{\"type\":0,\"training\":false,\"iteration_begin\":0,\"iteration_end\":0,\"strict_shape\":false,\"missing\":NaN,\"cache_id\":0}";

static void xgb_run(engine *e, const char *array, int n) {
	const uint64_t *shape;
	uint64_t dim;
	const float *result;
	if (e->xgb_predict(e->handle, array, xgb_config, NULL, &shape, &dim, &result)) die("XGBoost", "prediction");
	for (int k = 0; k < n; k++) e->out[k] = result[k];
}
static void xgb_one(engine *e, int i) { xgb_run(e, e->one_json[i], 1); }
static void xgb_many(engine *e, int i) { xgb_run(e, e->many_json[i], batch); }

static char *xgb_array(int i, int n) {
	char *text;
	if (asprintf(&text, "{\"data\":[%zu,true],\"shape\":[%d,%d],\"typestr\":\"<f4\",\"version\":3}", (size_t)(data32 + (size_t)i * width), n, width) < 0) die("memory", NULL);
	return text;
}

static void xgb_open(engine *e, void *lib, const char *model) {
	int (*create)(void *, uint64_t, void **) = sym(lib, "XGBoosterCreate");
	int (*load)(void *, const char *) = sym(lib, "XGBoosterLoadModel");
	int (*set)(void *, const char *, const char *) = sym(lib, "XGBoosterSetParam");
	if (create(NULL, 0, &e->handle) || load(e->handle, model) || set(e->handle, "nthread", "1")) die("XGBoost", model);
	e->xgb_predict = sym(lib, "XGBoosterPredictFromDense");
	e->one_json = malloc(rows * sizeof(char *)); // written once: a caller would, too
	e->many_json = malloc(rows * sizeof(char *));
	for (int i = 0; i < rows; i++) {
		e->one_json[i] = xgb_array(i, 1);
		e->many_json[i] = i + batch <= rows ? xgb_array(i, batch) : NULL;
	}
	e->one = xgb_one;
	e->many = xgb_many;
}

// onnxruntime: its C API is a table of functions whose places never change ---------------------------

enum { GetErrorMessage = 2, CreateEnv = 3, CreateSession = 7, Run = 9, CreateSessionOptions = 10, SetIntraOpNumThreads = 24, SetInterOpNumThreads = 25,
	CreateTensorWithData = 49, GetTensorMutableData = 51, CreateCpuMemoryInfo = 69, ReleaseValue = 96 };

static void *const *ort;
static void ort_check(void *status) {
	if (status) die("onnxruntime", ((const char *(*)(void *))ort[GetErrorMessage])(status));
}

static void ort_run(engine *e, void *value, int n) {
	static const char *const in[] = {"input"}, *const out[] = {"output"};
	void *result = NULL;
	float *scores;
	ort_check(((void *(*)(void *, void *, const char *const *, void *const *, size_t, const char *const *, size_t, void **))ort[Run])(
		e->session, NULL, in, &value, 1, out, 1, &result));
	ort_check(((void *(*)(void *, void **))ort[GetTensorMutableData])(result, (void **)&scores));
	for (int k = 0; k < n; k++) e->out[k] = scores[k];
	((void (*)(void *))ort[ReleaseValue])(result);
}
static void ort_one(engine *e, int i) {
	memcpy(e->in_one, data32 + (size_t)i * width, width * sizeof(float));
	ort_run(e, e->value_one, 1);
}
static void ort_many(engine *e, int i) {
	memcpy(e->in_many, data32 + (size_t)i * width, (size_t)batch * width * sizeof(float));
	ort_run(e, e->value_many, batch);
}

static void *ort_tensor(void *memory, float *at, int n) {
	int64_t shape[] = {n, width};
	void *value;
	ort_check(((void *(*)(void *, void *, size_t, const int64_t *, size_t, int, void **))ort[CreateTensorWithData])(
		memory, at, (size_t)n * width * sizeof(float), shape, 2, 1, &value));
	return value;
}

static void ort_open(engine *e, void *lib, const char *model) {
	struct base { void *const *(*get)(uint32_t); const char *(*version)(void); };
	const struct base *(*base)(void) = sym(lib, "OrtGetApiBase");
	ort = base()->get(16);
	if (!ort) die("onnxruntime", "is older than 1.16");
	void *env, *options, *memory;
	ort_check(((void *(*)(int, const char *, void **))ort[CreateEnv])(3, "bench", &env));
	ort_check(((void *(*)(void **))ort[CreateSessionOptions])(&options));
	ort_check(((void *(*)(void *, int))ort[SetIntraOpNumThreads])(options, 1));
	ort_check(((void *(*)(void *, int))ort[SetInterOpNumThreads])(options, 1));
	ort_check(((void *(*)(void *, const char *, void *, void **))ort[CreateSession])(env, model, options, &e->session));
	ort_check(((void *(*)(int, int, void **))ort[CreateCpuMemoryInfo])(1, 0, &memory));
	e->in_one = malloc(width * sizeof(float));
	e->in_many = malloc((size_t)batch * width * sizeof(float));
	e->value_one = ort_tensor(memory, e->in_one, 1);
	e->value_many = ort_tensor(memory, e->in_many, batch);
	e->one = ort_one;
	e->many = ort_many;
}

// tl2cgen: union { int missing; T fvalue; } for each feature; missing is -1 ---------------------------

static double tl_score(engine *e, int i) {
	if (e->tl_double) {
		union { int64_t missing; double value; } *row = e->entries;
		for (int f = 0; f < width; f++) {
			double x = data[(size_t)i * width + f];
			if (isnan(x)) row[f].missing = -1; else row[f].value = x;
		}
		double result = 0; // what it writes adds to it
		e->tl_predict(row, 0, &result);
		return result;
	}
	union { int32_t missing; float value; } *row = e->entries;
	for (int f = 0; f < width; f++) {
		float x = data32[(size_t)i * width + f];
		if (isnan(x)) row[f].missing = -1; else row[f].value = x;
	}
	float result = 0;
	e->tl_predict(row, 0, &result);
	return result;
}
static void tl_one(engine *e, int i) { e->out[0] = tl_score(e, i); }
static void tl_many(engine *e, int i) { for (int k = 0; k < batch; k++) e->out[k] = tl_score(e, i + k); }

static void tl_open(engine *e, void *lib, const char *type) {
	e->tl_predict = sym(lib, "predict");
	e->tl_double = strcmp(type, "float64") == 0;
	e->entries = calloc(width, sizeof(double));
	e->one = tl_one;
	e->many = tl_many;
}

// Measuring --------------------------------------------------------------------------------------

static double measure(engine *e, int n, int64_t duration) {
	static int next;
	int64_t began = now(), spent;
	long calls = 0;
	do {
		for (int k = 0; k < 16; k++) {
			if (next + n > rows) next = 0;
			if (n == 1) e->one(e, next); else e->many(e, next);
			next += n;
		}
		calls += 16;
	} while ((spent = now() - began) < duration);
	return (double)spent / ((double)calls * n);
}

int main(int argc, char **argv) {
	if (argc < 9 || (argc - 6) % 3) die("usage", "ROWS WIDTH BATCH MILLISECONDS FILE {KIND LIBRARY MODEL}...");
	rows = atoi(argv[1]), width = atoi(argv[2]), batch = atoi(argv[3]);
	int64_t duration = atoll(argv[4]) * 1000000;
	size_t n = (size_t)rows * width;
	data = malloc(n * sizeof(double)), data32 = malloc(n * sizeof(float));
	FILE *file = fopen(argv[5], "rb");
	if (!file || fread(data, sizeof(double), n, file) != n) die("reading", argv[5]);
	fclose(file);
	for (size_t i = 0; i < n; i++) data32[i] = (float)data[i];

	int count = (argc - 6) / 3;
	engine *engines = calloc(count, sizeof(engine));
	for (int k = 0; k < count; k++) {
		engine *e = &engines[k];
		char **arg = argv + 6 + 3 * k;
		void *lib = dlopen(arg[1], RTLD_NOW | RTLD_LOCAL);
		if (!lib) die(arg[1], dlerror());
		e->kind = arg[0];
		e->out = malloc((batch > 256 ? batch : 256) * sizeof(double));
		if (!strcmp(e->kind, "lightgbm")) lgb_open(e, lib, arg[2]);
		else if (!strcmp(e->kind, "xgboost")) xgb_open(e, lib, arg[2]);
		else if (!strcmp(e->kind, "onnxruntime")) ort_open(e, lib, arg[2]);
		else if (!strcmp(e->kind, "tl2cgen")) tl_open(e, lib, arg[2]);
		else die("unknown kind", e->kind);
	}
	char line[64];
	while (fgets(line, sizeof line, stdin)) {
		for (int k = 0; k < count; k++) {
			engine *e = &engines[k];
			if (!strncmp(line, "scores", 6)) {
				for (int i = 0; i < 256 && i < rows; i++) {
					e->one(e, i);
					printf("%.17g ", e->out[0]);
				}
			} else {
				double one = measure(e, 1, duration), many = measure(e, batch, duration);
				printf("%.1f %.1f ", one, many);
			}
		}
		printf("\n");
		fflush(stdout);
	}
	return 0;
}
