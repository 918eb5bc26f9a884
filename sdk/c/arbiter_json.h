/* A small reader and writer of JSON (RFC 8259) without allocation, for strategies in C. Texts are
 * unescaped in place: the reader changes its input. After the first mistake every call gives nothing. */
#ifndef ARBITER_JSON_H
#define ARBITER_JSON_H

#include <stdlib.h>
#include <string.h>

/* A text that is not terminated. */
typedef struct {
  const char *data;
  unsigned length;
} arbiter_text;

static inline int arbiter_text_is(arbiter_text text, const char *other) {
  return text.length == strlen(other) && memcmp(text.data, other, text.length) == 0;
}

typedef struct {
  char *at, *end;
  int wrong, first, depth;
} arbiter_reader;

static inline char arbiter_peek(arbiter_reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
  return r->at < r->end ? *r->at : 0;
}

static inline void arbiter_fail(arbiter_reader *r) { r->wrong = 1, r->at = r->end; }

static inline void arbiter_take(arbiter_reader *r, char c) {
  if (arbiter_peek(r) == c) r->at++;
  else arbiter_fail(r);
}

/* arbiter_enter begins an object or a list; arbiter_next tells whether another member follows. */
static inline void arbiter_enter(arbiter_reader *r, char open) {
  arbiter_take(r, open);
  if (++r->depth > 64) arbiter_fail(r);
  r->first = 1;
}

static inline int arbiter_next(arbiter_reader *r, char end) {
  if (r->wrong) return 0;
  if (arbiter_peek(r) == end) {
    r->at++, r->depth--, r->first = 0;
    return 0;
  }
  if (!r->first) arbiter_take(r, ',');
  r->first = 0;
  return !r->wrong;
}

static inline int arbiter_hex(arbiter_reader *r) {
  int n = 0;
  if (r->end - r->at < 4) return arbiter_fail(r), 0;
  for (int i = 0; i < 4; i++) {
    char c = *r->at++;
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return arbiter_fail(r), 0;
    n = n << 4 | digit;
  }
  return n;
}

static inline char *arbiter_utf8(char *out, int c) {
  if (c < 0x80) *out++ = (char)c;
  else if (c < 0x800) *out++ = (char)(0xc0 | c >> 6), *out++ = (char)(0x80 | (c & 63));
  else if (c < 0x10000) *out++ = (char)(0xe0 | c >> 12), *out++ = (char)(0x80 | (c >> 6 & 63)), *out++ = (char)(0x80 | (c & 63));
  else *out++ = (char)(0xf0 | c >> 18), *out++ = (char)(0x80 | (c >> 12 & 63)), *out++ = (char)(0x80 | (c >> 6 & 63)), *out++ = (char)(0x80 | (c & 63));
  return out;
}

static char *arbiter_escape(arbiter_reader *r, char *out) {
  char c = *r->at++;
  switch (c) {
  case '"': case '\\': case '/': *out++ = c; return out;
  case 'b': *out++ = '\b'; return out;
  case 'f': *out++ = '\f'; return out;
  case 'n': *out++ = '\n'; return out;
  case 'r': *out++ = '\r'; return out;
  case 't': *out++ = '\t'; return out;
  case 'u': break;
  default: arbiter_fail(r); return out;
  }
  int high = arbiter_hex(r);
  if (high >= 0xd800 && high < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
    char *before = r->at;
    r->at += 2;
    int low = arbiter_hex(r);
    if (low >= 0xdc00 && low < 0xe000) return arbiter_utf8(out, ((high - 0xd800) << 10) + (low - 0xdc00) + 0x10000);
    if (!r->wrong) r->at = before;
  }
  if (high >= 0xd800 && high < 0xe000) high = 0xfffd; /* half a pair */
  return arbiter_utf8(out, high);
}

static arbiter_text arbiter_read_text(arbiter_reader *r) {
  arbiter_text text = {0, 0};
  arbiter_take(r, '"');
  char *begin = r->at, *at = begin, *end = r->end;
  while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20) at++; /* most texts end here */
  char *out = at;
  r->at = at;
  while (r->at < r->end) {
    unsigned char c = (unsigned char)*r->at++;
    if (c == '"') {
      text.data = begin, text.length = (unsigned)(out - begin);
      return text;
    }
    if (c < 0x20 || (c == '\\' && r->at == r->end)) break;
    if (c == '\\') out = arbiter_escape(r, out);
    else *out++ = (char)c;
  }
  arbiter_fail(r);
  return text;
}

static inline arbiter_text arbiter_key(arbiter_reader *r) {
  arbiter_text key = arbiter_read_text(r);
  arbiter_take(r, ':');
  return key;
}

/* arbiter_parse_number reads a number that is a whole text; strtod alone would need it terminated. */
static inline int arbiter_parse_number(arbiter_text text, double *number) {
  char copy[64], *end;
  if (text.length == 0 || text.length >= sizeof copy) return 0;
  memcpy(copy, text.data, text.length);
  copy[text.length] = 0;
  *number = strtod(copy, &end);
  return end == copy + text.length;
}

/* arbiter_read_number reads up to 15 digits with one multiplication or division, which is exact; what the
 * host writes has no more. */
static double arbiter_read_number(arbiter_reader *r) {
  static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  arbiter_peek(r);
  char *at = r->at, *end = r->end;
  int negative = at < end && *at == '-', digits = 0, scale = 0, exponent = 0, minus = 0;
  unsigned long long whole = 0;
  if (negative) at++;
  for (; at < end && *at >= '0' && *at <= '9'; at++, digits += whole != 0) whole = whole * 10 + (unsigned)(*at - '0');
  if (at < end && *at == '.')
    for (at++; at < end && *at >= '0' && *at <= '9'; at++, scale--, digits += whole != 0) whole = whole * 10 + (unsigned)(*at - '0');
  if (at < end && (*at == 'e' || *at == 'E')) {
    at++;
    if (at < end && (*at == '+' || *at == '-')) minus = *at++ == '-';
    for (; at < end && *at >= '0' && *at <= '9' && exponent < 1000; at++) exponent = exponent * 10 + (*at - '0');
  }
  arbiter_text text = {r->at, (unsigned)(at - r->at)};
  r->at = at;
  scale += minus ? -exponent : exponent;
  double number = (double)whole;
  if (digits <= 15 && scale >= -22 && scale <= 22 && text.length > (unsigned)negative) {
    number = scale < 0 ? number / powers[-scale] : number * powers[scale];
    return negative ? -number : number;
  }
  if (!arbiter_parse_number(text, &number)) arbiter_fail(r);
  return number;
}

static inline void arbiter_word(arbiter_reader *r, const char *word) {
  size_t length = strlen(word);
  if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0) arbiter_fail(r);
  else r->at += length;
}

static inline int arbiter_read_bool(arbiter_reader *r) {
  if (arbiter_peek(r) == 't') return arbiter_word(r, "true"), !r->wrong;
  return arbiter_word(r, "false"), 0;
}

static void arbiter_skip(arbiter_reader *r) {
  switch (arbiter_peek(r)) {
  case '{': for (arbiter_enter(r, '{'); arbiter_next(r, '}');) arbiter_key(r), arbiter_skip(r); break;
  case '[': for (arbiter_enter(r, '['); arbiter_next(r, ']');) arbiter_skip(r); break;
  case '"': arbiter_read_text(r); break;
  case 't': case 'f': arbiter_read_bool(r); break;
  case 'n': arbiter_word(r, "null"); break;
  default: arbiter_read_number(r);
  }
}

/* A writer counts what does not fit, so that length is always what is needed. */
typedef struct {
  char *out;
  unsigned capacity, length;
} arbiter_writer;

static inline void arbiter_put(arbiter_writer *w, const char *data, unsigned length) {
  if (w->length + length <= w->capacity) memcpy(w->out + w->length, data, length);
  w->length += length;
}

static inline void arbiter_write(arbiter_writer *w, const char *text) { arbiter_put(w, text, (unsigned)strlen(text)); }

static inline void arbiter_write_text(arbiter_writer *w, arbiter_text text) {
  unsigned begin = 0;
  arbiter_put(w, "\"", 1);
  for (unsigned i = 0; i < text.length; i++) {
    unsigned char c = (unsigned char)text.data[i];
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    char code[6] = {'\\', 'u', '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
    arbiter_put(w, text.data + begin, i - begin);
    begin = c < 0x20 ? i + 1 : i;
    arbiter_put(w, code, c < 0x20 ? 6 : 1);
  }
  arbiter_put(w, text.data + begin, text.length - begin);
  arbiter_put(w, "\"", 1);
}

static inline void arbiter_write_unsigned(arbiter_writer *w, unsigned long long number) {
  char digits[20];
  int n = 0;
  do digits[n++] = (char)('0' + number % 10);
  while (number /= 10);
  while (n > 0) arbiter_put(w, digits + --n, 1);
}

/* arbiter_write_number writes up to nine decimals, which is what weights need; printf would make a
 * plugin several times as large. */
static inline void arbiter_write_number(arbiter_writer *w, double number) {
  if (number != number || number > 1e9 || number < -1e9) number = 0;
  if (number < 0) arbiter_put(w, "-", 1), number = -number;
  unsigned long long units = (unsigned long long)(number * 1e9 + 0.5);
  arbiter_write_unsigned(w, units / 1000000000ull);
  unsigned long long rest = units % 1000000000ull;
  if (rest == 0) return;
  char digits[10] = {'.'};
  for (int i = 9; i > 0; i--, rest /= 10) digits[i] = (char)('0' + rest % 10);
  int n = 10;
  while (digits[n - 1] == '0') n--;
  arbiter_put(w, digits, (unsigned)n);
}

#endif
