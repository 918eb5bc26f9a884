// Package router is the door to replicated state: it leads each subject to the group that keeps it,
// and gives the control group a typed face.
//
// A subject falls into one of 4,096 hash slots and a slot into one data group. A decision id carries
// the slot of its subject, so a response finds the group without knowing the subject.
package router
