/* The conformance strategy of sdk/abi/README.md. */
#include "arbiter/arbiter.h"

static void by_value(const arbiter_input *in, arbiter_answer *answer) {
  for (int i = 1; i < answer->count; i++)
    for (int j = i; j > 0 && in->candidates[answer->picks[j].candidate].value > in->candidates[answer->picks[j - 1].candidate].value; j--) {
      arbiter_picked p = answer->picks[j];
      answer->picks[j] = answer->picks[j - 1], answer->picks[j - 1] = p;
    }
}

static arbiter_text filler(void) {
  arbiter_text text = {arbiter_room(1000), 1000};
  if (!text.data) text.length = 0;
  else memset((char *)text.data, 'x', 1000);
  return text;
}

int arbiter_strategy(const arbiter_input *in, arbiter_answer *answer) {
  if (arbiter_text_is(in->channel, "refuse")) return -1;
  double least = 0;
  arbiter_text given = arbiter_param("minPropensity");
  if (given.data && !arbiter_parse_number(given, &least)) least = 0;
  const arbiter_field *vip = arbiter_subject_bool(in, "vip"), *plan = arbiter_subject_text(in, "plan"), *score = arbiter_feature(in, "score");
  arbiter_text of = plan ? plan->text : arbiter_text_of("-");
  arbiter_text large = arbiter_context_of(in, "large") ? filler() : arbiter_text_of("");

  answer->by_priority = arbiter_text_is(in->direction, "outbound");
  for (int i = 0; i < in->candidate_count; i++) {
    const arbiter_candidate *c = &in->candidates[i];
    if (c->propensity < least) continue;
    arbiter_picked *pick = arbiter_pick(answer, i);
    arbiter_say(pick, "headline", arbiter_join(arbiter_join(c->action, arbiter_text_of(" / ")), of));
    if (vip && vip->number != 0) pick->weight = 2;
    if (score) pick->weight = score->number;
    if (c->treatment_counts[0] > 1) pick->treatment = c->treatments[0][1];
    if (large.length) arbiter_say(pick, "filler", large);
    if (arbiter_context_of(in, "host")) {
      arbiter_text draw = arbiter_join(arbiter_digits(arbiter_random() % 1000), arbiter_text_of(" at "));
      arbiter_say(pick, "draw", arbiter_join(draw, arbiter_digits((unsigned long long)arbiter_now_ms())));
    }
  }
  const arbiter_context *order = arbiter_context_of(in, "order");
  if (order && arbiter_text_is(order->value, "value")) by_value(in, answer);
  arbiter_log(1, arbiter_join(arbiter_join(arbiter_text_of("picked "), arbiter_digits((unsigned)answer->count)), arbiter_join(arbiter_text_of(" for "), of)));
  arbiter_metric_add("conformance_picks", answer->count);
  return 0;
}
