// Package archtest holds the tests that keep the architecture true: the import order, the
// third-party doors, the purity of everything that Apply reaches, and the rules of the house. It has
// no code of its own.
package archtest
