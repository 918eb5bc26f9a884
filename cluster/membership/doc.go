// Package membership plans which nodes keep and lead which groups as nodes join, drain, die and leave.
//
// It is pure: a plan follows from a State alone, without clock, chance or memory, so that whichever node
// plans next goes on where the one before stopped. One step changes one replica of a group, and a group is
// left alone until it is what the last step wanted it to be.
package membership
