// Package delivery sends what was decided to where it goes: sinks. A sink is a webhook, a TM Forum
// communication management (TMF681), a Kafka topic, or the log.
//
// When something is sent, and what becomes of it, runtime/delivery decides; the outbox of a data group keeps
// it. A sink keeps nothing.
package delivery
