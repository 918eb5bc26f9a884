// Package expr compiles and evaluates the expressions of a catalog: policies (true or false) and
// values (numbers), written in the Common Expression Language (https://cel.dev).
//
// An expression reads
//
//	subject.<attribute>   an attribute of the dictionary, typed; absent ones are errors, has() asks
//	contexts["key"]       a value of the request, text; also contexts.key and "key" in contexts
//	now                   the time of the decision
//	channel, direction    of the request, text
//	history.…             what the interaction history has: history.outcome("Accepted").count()
//	aggregates.<name>     what an event strategy counted, as of now; also aggregates["name"]
//
// What is evaluated when an event arrives (NewEventEnv) reads subject, now, and
//
//	event.id, .source, .type   text
//	event.time                 when it happened
//	event.data.<path>          its data, read where it stands; numbers are doubles
//
// Source text is parsed and type-checked by cel-go, once, against the attribute dictionary. What is
// then evaluated a million times is a tree of our own closures: no allocation, and the three-valued
// logic of CEL (an absent attribute is an error, which && and || absorb where the other side
// decides). Constructs outside that subset run in cel-go itself under a cost limit. A differential
// test holds the two together.
//
// Attributes are read through consent: an attribute that may not be used for the purpose at hand is
// absent. Nothing here reads a clock or does I/O while evaluating.
package expr
