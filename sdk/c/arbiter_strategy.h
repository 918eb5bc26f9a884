/* Guest SDK for C: a strategy of plugin contract version 1 (sdk/abi/README.md), in two headers.
 *
 * A plugin is one C file that includes this header and defines arbiter_strategy. It is told a decision
 * that arbitration has ranked and answers which candidates to go on with:
 *
 *   #include "arbiter/arbiter.h"
 *
 *   int arbiter_strategy(const arbiter_input *in, arbiter_answer *answer) {
 *     for (int i = 0; i < in->candidate_count; i++) arbiter_pick(answer, i);
 *     return 0;
 *   }
 *
 * The module has one caller at a time, and all memory is of fixed size. A static variable would survive
 * from one customer to the next: do not use any that is not const. */
#ifndef ARBITER_STRATEGY_H
#define ARBITER_STRATEGY_H

#include "arbiter_features.h" /* ARBITER_MAX_ROWS: the most candidates of one call */
#include "arbiter_json.h"

#define ARBITER_MAX_FIELDS 256 /* of the subject, and of its features */
#define ARBITER_MAX_PROPERTIES 16
#define ARBITER_MAX_PLACEMENTS 16
#define ARBITER_MAX_TREATMENTS 8 /* of one candidate in one placement */
#define ARBITER_MAX_CONTEXTS 64
#define ARBITER_MAX_CONTENT 8
#define ARBITER_BUFFER_BYTES 262144
#define ARBITER_SCRATCH_BYTES 131072

enum arbiter_kind { ARBITER_NUMBER, ARBITER_TEXT, ARBITER_BOOL };

/* One thing that is told of the subject or of an action. */
typedef struct {
  arbiter_text name;
  enum arbiter_kind kind;
  double number; /* of a number, and 0 or 1 of a truth value */
  arbiter_text text;
} arbiter_field;

typedef struct { arbiter_text type, key, value; } arbiter_context;
typedef struct { arbiter_text name; int limit; } arbiter_placement;

/* An action that passed every policy, with its factors. What is beyond the sizes above is left out. */
typedef struct {
  arbiter_text action, issue, group, model;
  double propensity, context_weight, value, lever, priority;
  int property_count;
  arbiter_field properties[ARBITER_MAX_PROPERTIES];
  /* For each placement the treatments there are; the first is used unless a pick names another. */
  int treatment_counts[ARBITER_MAX_PLACEMENTS];
  arbiter_text treatments[ARBITER_MAX_PLACEMENTS][ARBITER_MAX_TREATMENTS];
} arbiter_candidate;

/* What a strategy is told of a decision. Candidates are best first. */
typedef struct {
  double now_ms;
  arbiter_text channel, direction;
  int context_count, subject_count, feature_count, placement_count, candidate_count;
  arbiter_context contexts[ARBITER_MAX_CONTEXTS];
  arbiter_field subject[ARBITER_MAX_FIELDS];   /* the attributes of the manifest, as far as consented */
  arbiter_field features[ARBITER_MAX_FIELDS];  /* the features of the manifest that are not missing */
  arbiter_placement placements[ARBITER_MAX_PLACEMENTS];
  arbiter_candidate candidates[ARBITER_MAX_ROWS];
} arbiter_input;

typedef struct { arbiter_text name, text; } arbiter_content;

/* One candidate to go on with. */
typedef struct {
  int candidate;
  double weight; /* multiplies its priority: above 0 and at most 100; 0 stands for 1 */
  arbiter_text treatment;
  int content_count;
  arbiter_content content[ARBITER_MAX_CONTENT];
} arbiter_picked;

/* What a strategy wants: picks, best first. Candidates that are not picked are not proposed. */
typedef struct {
  int count, by_priority; /* by_priority: rank the picks by priority times weight instead */
  arbiter_picked picks[ARBITER_MAX_ROWS];
} arbiter_answer;

/* arbiter_strategy is the plugin. 0 is success; anything else leaves what arbitration ranked. */
int arbiter_strategy(const arbiter_input *in, arbiter_answer *answer);

/* arbiter_pick adds a candidate to the answer. */
static inline arbiter_picked *arbiter_pick(arbiter_answer *answer, int candidate) {
  arbiter_picked *pick = &answer->picks[answer->count++];
  pick->candidate = candidate, pick->weight = 0, pick->content_count = 0;
  pick->treatment.data = 0, pick->treatment.length = 0;
  return pick;
}

/* arbiter_say adds a field to what the channel shows for a pick. */
static inline void arbiter_say(arbiter_picked *pick, const char *name, arbiter_text text) {
  if (pick->content_count == ARBITER_MAX_CONTENT) return;
  arbiter_content *content = &pick->content[pick->content_count++];
  content->name.data = name, content->name.length = (unsigned)strlen(name), content->text = text;
}

static inline const arbiter_field *arbiter_field_of(const arbiter_field *fields, int count, const char *name, enum arbiter_kind kind) {
  for (int i = 0; i < count; i++)
    if (fields[i].kind == kind && arbiter_text_is(fields[i].name, name)) return &fields[i];
  return 0;
}

/* The next three find what is told of the subject; 0 when there is none of that name and type. */
static inline const arbiter_field *arbiter_subject_number(const arbiter_input *in, const char *name) {
  return arbiter_field_of(in->subject, in->subject_count, name, ARBITER_NUMBER);
}
static inline const arbiter_field *arbiter_subject_text(const arbiter_input *in, const char *name) {
  return arbiter_field_of(in->subject, in->subject_count, name, ARBITER_TEXT);
}
static inline const arbiter_field *arbiter_subject_bool(const arbiter_input *in, const char *name) {
  return arbiter_field_of(in->subject, in->subject_count, name, ARBITER_BOOL);
}
static inline const arbiter_field *arbiter_feature(const arbiter_input *in, const char *name) {
  return arbiter_field_of(in->features, in->feature_count, name, ARBITER_NUMBER);
}

/* arbiter_context_of is the first context value of a key; 0 when there is none. */
static inline const arbiter_context *arbiter_context_of(const arbiter_input *in, const char *key) {
  for (int i = 0; i < in->context_count; i++)
    if (arbiter_text_is(in->contexts[i].key, key)) return &in->contexts[i];
  return 0;
}

/* The host functions. Each needs its capability in plugin.yaml, and is imported only where it is used. */
#define ARBITER_IMPORT(name) __attribute__((import_module("arbiter_v1"), import_name(name)))
ARBITER_IMPORT("log") void arbiter_host_log(int level, const char *text, unsigned length);
ARBITER_IMPORT("now_ms") long long arbiter_now_ms(void);
ARBITER_IMPORT("rand_u64") unsigned long long arbiter_random(void);
ARBITER_IMPORT("param_get") int arbiter_host_param(const char *key, unsigned length, char *out, unsigned capacity);
ARBITER_IMPORT("metric_add") void arbiter_host_metric(const char *name, unsigned length, double value);

/* arbiter_log writes a line to the plugin's log; level is 0 debug, 1 info, 2 warn, 3 error. */
static inline void arbiter_log(int level, arbiter_text text) { arbiter_host_log(level, text.data, text.length); }
/* arbiter_metric_add adds to a counter of the plugin. */
static inline void arbiter_metric_add(const char *name, double value) { arbiter_host_metric(name, (unsigned)strlen(name), value); }

/* Memory for texts that are made during one call; what does not fit is empty. */
static char arbiter_scratch_[ARBITER_SCRATCH_BYTES];
static unsigned arbiter_scratch_used_;

/* arbiter_room lends memory until the call ends; 0 when there is none left. */
static inline char *arbiter_room(unsigned bytes) {
  if (bytes > ARBITER_SCRATCH_BYTES - arbiter_scratch_used_) return 0;
  char *room = arbiter_scratch_ + arbiter_scratch_used_;
  arbiter_scratch_used_ += bytes;
  return room;
}

/* arbiter_param is a parameter of the plugin; its data is 0 when there is none. */
static inline arbiter_text arbiter_param(const char *key) {
  arbiter_text value = {0, 0};
  int length = arbiter_host_param(key, (unsigned)strlen(key), 0, 0);
  if (length < 0) return value;
  char *room = arbiter_room((unsigned)length + 1);
  if (!room) return value;
  arbiter_host_param(key, (unsigned)strlen(key), room, (unsigned)length);
  value.data = room, value.length = (unsigned)length;
  return value;
}

/* arbiter_join makes one text of two. */
static inline arbiter_text arbiter_join(arbiter_text a, arbiter_text b) {
  arbiter_text joined = {0, 0};
  char *room = arbiter_room(a.length + b.length + 1);
  if (!room) return joined;
  memcpy(room, a.data, a.length);
  memcpy(room + a.length, b.data, b.length);
  joined.data = room, joined.length = a.length + b.length;
  return joined;
}

/* arbiter_text_of is a constant as a text. */
static inline arbiter_text arbiter_text_of(const char *constant) {
  arbiter_text text = {constant, (unsigned)strlen(constant)};
  return text;
}

/* arbiter_digits writes a number as a text. */
static inline arbiter_text arbiter_digits(unsigned long long number) {
  arbiter_text text = {0, 0};
  char *room = arbiter_room(20);
  if (!room) return text;
  arbiter_writer w = {room, 20, 0};
  arbiter_write_unsigned(&w, number);
  text.data = room, text.length = w.length;
  return text;
}

static void arbiter_read_fields_(arbiter_reader *r, arbiter_field *fields, int most, int *count) {
  *count = 0;
  for (arbiter_enter(r, '{'); arbiter_next(r, '}');) {
    arbiter_field f = {arbiter_key(r), ARBITER_NUMBER, 0, {0, 0}};
    switch (arbiter_peek(r)) {
    case '"': f.kind = ARBITER_TEXT, f.text = arbiter_read_text(r); break;
    case 't': case 'f': f.kind = ARBITER_BOOL, f.number = arbiter_read_bool(r); break;
    default: f.number = arbiter_read_number(r);
    }
    if (*count < most) fields[(*count)++] = f;
  }
}

static void arbiter_read_treatments_(arbiter_reader *r, arbiter_candidate *c) {
  int placement = 0;
  memset(c->treatment_counts, 0, sizeof c->treatment_counts);
  for (arbiter_enter(r, '['); arbiter_next(r, ']'); placement++)
    for (arbiter_enter(r, '['); arbiter_next(r, ']');) {
      arbiter_text name = arbiter_read_text(r);
      if (placement < ARBITER_MAX_PLACEMENTS && c->treatment_counts[placement] < ARBITER_MAX_TREATMENTS)
        c->treatments[placement][c->treatment_counts[placement]++] = name;
    }
}

static void arbiter_read_candidate_(arbiter_reader *r, arbiter_candidate *c) {
  c->property_count = 0, c->model.data = 0, c->model.length = 0;
  memset(c->treatment_counts, 0, sizeof c->treatment_counts);
  for (arbiter_enter(r, '{'); arbiter_next(r, '}');) {
    arbiter_text key = arbiter_key(r);
    if (arbiter_text_is(key, "action")) c->action = arbiter_read_text(r);
    else if (arbiter_text_is(key, "issue")) c->issue = arbiter_read_text(r);
    else if (arbiter_text_is(key, "group")) c->group = arbiter_read_text(r);
    else if (arbiter_text_is(key, "model")) c->model = arbiter_read_text(r);
    else if (arbiter_text_is(key, "propensity")) c->propensity = arbiter_read_number(r);
    else if (arbiter_text_is(key, "contextWeight")) c->context_weight = arbiter_read_number(r);
    else if (arbiter_text_is(key, "value")) c->value = arbiter_read_number(r);
    else if (arbiter_text_is(key, "lever")) c->lever = arbiter_read_number(r);
    else if (arbiter_text_is(key, "priority")) c->priority = arbiter_read_number(r);
    else if (arbiter_text_is(key, "properties")) arbiter_read_fields_(r, c->properties, ARBITER_MAX_PROPERTIES, &c->property_count);
    else if (arbiter_text_is(key, "treatments")) arbiter_read_treatments_(r, c);
    else arbiter_skip(r);
  }
}

static void arbiter_read_context_(arbiter_reader *r, arbiter_input *in) {
  arbiter_context c = {{0, 0}, {0, 0}, {0, 0}};
  for (arbiter_enter(r, '{'); arbiter_next(r, '}');) {
    arbiter_text key = arbiter_key(r);
    if (arbiter_text_is(key, "type")) c.type = arbiter_read_text(r);
    else if (arbiter_text_is(key, "key")) c.key = arbiter_read_text(r);
    else if (arbiter_text_is(key, "value")) c.value = arbiter_read_text(r);
    else arbiter_skip(r);
  }
  if (in->context_count < ARBITER_MAX_CONTEXTS) in->contexts[in->context_count++] = c;
}

static void arbiter_read_placement_(arbiter_reader *r, arbiter_input *in) {
  arbiter_placement p = {{0, 0}, 0};
  for (arbiter_enter(r, '{'); arbiter_next(r, '}');) {
    arbiter_text key = arbiter_key(r);
    if (arbiter_text_is(key, "name")) p.name = arbiter_read_text(r);
    else if (arbiter_text_is(key, "limit")) p.limit = (int)arbiter_read_number(r);
    else arbiter_skip(r);
  }
  if (in->placement_count < ARBITER_MAX_PLACEMENTS) in->placements[in->placement_count++] = p;
}

static int arbiter_read_input_(arbiter_reader *r, arbiter_input *in) {
  in->now_ms = 0, in->context_count = in->subject_count = in->feature_count = in->placement_count = in->candidate_count = 0;
  in->channel = in->direction = arbiter_text_of("");
  for (arbiter_enter(r, '{'); arbiter_next(r, '}');) {
    arbiter_text key = arbiter_key(r);
    if (arbiter_text_is(key, "nowMs")) in->now_ms = arbiter_read_number(r);
    else if (arbiter_text_is(key, "channel")) in->channel = arbiter_read_text(r);
    else if (arbiter_text_is(key, "direction")) in->direction = arbiter_read_text(r);
    else if (arbiter_text_is(key, "subject")) arbiter_read_fields_(r, in->subject, ARBITER_MAX_FIELDS, &in->subject_count);
    else if (arbiter_text_is(key, "features")) arbiter_read_fields_(r, in->features, ARBITER_MAX_FIELDS, &in->feature_count);
    else if (arbiter_text_is(key, "contexts"))
      for (arbiter_enter(r, '['); arbiter_next(r, ']');) arbiter_read_context_(r, in);
    else if (arbiter_text_is(key, "placements"))
      for (arbiter_enter(r, '['); arbiter_next(r, ']');) arbiter_read_placement_(r, in);
    else if (arbiter_text_is(key, "candidates"))
      for (arbiter_enter(r, '['); arbiter_next(r, ']');) {
        if (in->candidate_count == ARBITER_MAX_ROWS) return 0;
        arbiter_read_candidate_(r, &in->candidates[in->candidate_count++]);
      }
    else arbiter_skip(r);
  }
  return !r->wrong && arbiter_peek(r) == 0;
}

static void arbiter_write_answer_(arbiter_writer *w, const arbiter_answer *a) {
  arbiter_write(w, "{\"picks\":[");
  for (int i = 0; i < a->count; i++) {
    const arbiter_picked *p = &a->picks[i];
    arbiter_write(w, i ? ",{\"candidate\":" : "{\"candidate\":");
    arbiter_write_unsigned(w, (unsigned)p->candidate);
    if (p->weight != 0) arbiter_write(w, ",\"weight\":"), arbiter_write_number(w, p->weight);
    if (p->treatment.length) arbiter_write(w, ",\"treatment\":"), arbiter_write_text(w, p->treatment);
    for (int n = 0; n < p->content_count; n++) {
      arbiter_write(w, n ? "," : ",\"content\":{");
      arbiter_write_text(w, p->content[n].name), arbiter_put(w, ":", 1), arbiter_write_text(w, p->content[n].text);
    }
    arbiter_write(w, p->content_count ? "}}" : "}");
  }
  arbiter_write(w, a->by_priority ? "],\"byPriority\":true}" : "],\"byPriority\":false}");
}

static arbiter_input arbiter_input_;
static arbiter_answer arbiter_answer_;
static char arbiter_in_[ARBITER_BUFFER_BYTES] __attribute__((aligned(16)));
static char arbiter_out_[ARBITER_BUFFER_BYTES] __attribute__((aligned(16)));

#define ARBITER_EXPORT(name) __attribute__((export_name(name), used))

/* The marker of contract version 1. It is looked for and never called. */
ARBITER_EXPORT("arbiter_abi_v1") void arbiter_abi_v1(void) {}

ARBITER_EXPORT("arbiter_buffers") long long arbiter_buffers(unsigned in, unsigned out) {
  if (in > ARBITER_BUFFER_BYTES || out > ARBITER_BUFFER_BYTES) return -1;
  return (long long)(unsigned long)arbiter_in_ << 32 | (long long)(unsigned long)arbiter_out_;
}

ARBITER_EXPORT("arbiter_decide") long long arbiter_decide(char *in, unsigned length, char *out, unsigned capacity) {
  arbiter_reader r = {in, in + length, 0, 0, 0};
  arbiter_scratch_used_ = 0;
  if (!arbiter_read_input_(&r, &arbiter_input_)) return -2;
  arbiter_answer_.count = arbiter_answer_.by_priority = 0;
  if (arbiter_strategy(&arbiter_input_, &arbiter_answer_) != 0) return -1;
  arbiter_writer w = {out, capacity, 0};
  arbiter_write_answer_(&w, &arbiter_answer_);
  return w.length <= capacity ? (long long)w.length : -(long long)w.length;
}

#endif
