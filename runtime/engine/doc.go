// Package engine decides what to propose to one subject now.
package engine
