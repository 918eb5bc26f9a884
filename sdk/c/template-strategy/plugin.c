/* The strategy: which of the candidates to go on with, and how. plugin.yaml says what it is told. */
#include "arbiter/arbiter.h"

/* It puts one issue forward for customers who are new: the parameters issue and boost say which and how
 * much. */
int arbiter_strategy(const arbiter_input *in, arbiter_answer *answer) {
  const arbiter_field *tenure = arbiter_subject_number(in, "tenure");
  arbiter_text issue = arbiter_param("issue"), boost = arbiter_param("boost");
  double weight = 1;
  if (boost.data && !arbiter_parse_number(boost, &weight)) return -1;

  answer->by_priority = 1;
  for (int i = 0; i < in->candidate_count; i++) {
    arbiter_text of = in->candidates[i].issue;
    arbiter_picked *pick = arbiter_pick(answer, i);
    if (tenure && tenure->number < 12 && of.length == issue.length && memcmp(of.data, issue.data, of.length) == 0) pick->weight = weight;
  }
  if (!tenure) arbiter_log(0, arbiter_text_of("a customer without tenure"));
  return 0;
}
