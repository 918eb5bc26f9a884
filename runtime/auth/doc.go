// Package auth says who may do what: roles and the permissions they carry, API keys as they are kept
// (hashed) and as they are shown once, and the principal on whose behalf a call is made.
//
// It is pure: keys are drawn from a source of randomness that the caller gives, and every question about
// time takes the time as an argument.
package auth
