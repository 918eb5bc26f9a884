// Package journey keeps where a subject stands in what spans channels: a cart, an activation, a complaint.
//
// A Definition has stages; an Effect is what an event, a response or a person asks of one journey, with
// everything that needed an expression or the catalog worked out beforehand. State.Apply and State.Fire are
// functions of the state, the effect and the times given: they are what the state machines of the cluster
// run, so there is no clock, no chance and no float in them. What is to be done besides (timers, triggers)
// is in the Changes they give. docs/format/journeys.md describes the bytes.
package journey
